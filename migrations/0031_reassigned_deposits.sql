-- Held money that is another payment's by decision; see docs/decisions/0024-odd-money.md.

-- Read model `blockchain_transactions`, of the payment that held the deposit:
--   assigned_to  the payment that has it by decision (`decision` is then assigned); NULL: this one, or nobody decided.
--   is_counted   whether that payment has it: its own event says so, after this one's. From then on the deposit is listed
--                as that payment's.
ALTER TABLE blockchain_transactions
    ADD COLUMN assigned_to uuid CHECK (assigned_to IS NULL OR decision = 'assigned'),
    ADD COLUMN is_counted  boolean NOT NULL DEFAULT false;

DROP INDEX idx_blockchain_held;
CREATE INDEX idx_blockchain_held ON blockchain_transactions (block_time DESC, id DESC)
    WHERE disposition = 'hold' AND decision IS DISTINCT FROM 'refunded' AND assigned_to IS NULL AND status <> 'orphaned';
DROP INDEX idx_blockchain_odd_orphaned;
CREATE INDEX idx_blockchain_odd_orphaned ON blockchain_transactions (block_time DESC, id DESC)
    WHERE status = 'orphaned' AND (disposition = 'hold' OR decision IS NOT NULL) AND assigned_to IS NULL;
CREATE INDEX idx_blockchain_assigning ON blockchain_transactions (block_time DESC, id DESC)
    WHERE assigned_to IS NOT NULL AND NOT is_counted;
