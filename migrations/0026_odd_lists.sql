-- What reorganizations and decisions make of deposits, and lists of odd money that stay fast however much there is.
-- The read models `blockchain_transactions` and `unmatched_deposits` have new versions: the role `projections` rebuilds them
-- at its next start.

-- A reorganization can give one movement of money to another payment than before, and each payment's stream says what it
-- knows in its own order. So a row is a deposit of a payment, and `id` is made from both.
ALTER TABLE blockchain_transactions
    DROP CONSTRAINT idx_blockchain_deposit,
    ADD CONSTRAINT idx_blockchain_deposit UNIQUE (blockchain, transaction_hash, leg, payment_id);

-- Odd money at payments, by where it stands: a list is one range of one of these.
DROP INDEX idx_blockchain_held;
CREATE INDEX idx_blockchain_held ON blockchain_transactions (block_time DESC, id DESC)
    WHERE disposition = 'hold' AND decision IS DISTINCT FROM 'refunded' AND status <> 'orphaned';
CREATE INDEX idx_blockchain_decided ON blockchain_transactions (decision, block_time DESC, id DESC)
    WHERE decision IS NOT NULL;
CREATE INDEX idx_blockchain_odd_orphaned ON blockchain_transactions (block_time DESC, id DESC)
    WHERE status = 'orphaned' AND (disposition = 'hold' OR decision IS NOT NULL);

-- Whether the payment that it was assigned to has it: its own event says so, after the deposit's. From then on the deposit
-- is listed as that payment's.
ALTER TABLE unmatched_deposits ADD COLUMN is_counted boolean NOT NULL DEFAULT false;

DROP INDEX idx_unmatched_deposits_block_time;
CREATE INDEX idx_unmatched_deposits_open ON unmatched_deposits (block_time DESC, id DESC)
    WHERE decision IS NULL AND status = 'recorded' AND NOT is_counted;
CREATE INDEX idx_unmatched_deposits_decided ON unmatched_deposits (decision, block_time DESC, id DESC)
    WHERE decision IS NOT NULL AND NOT is_counted;
CREATE INDEX idx_unmatched_deposits_orphaned ON unmatched_deposits (block_time DESC, id DESC)
    WHERE status = 'orphaned' AND NOT is_counted;

-- Of the crate `chain-watchers`, for the same list.
CREATE INDEX deposit_observations_odd_orphaned ON deposit_observations (block_time DESC)
    WHERE kind <> 'money' AND stage = 'orphaned';
