-- Odd money: dust, tokens that are not configured, money that no payment claims, and what was decided about it. See
-- docs/decisions/0024-odd-money.md.

-- What the watchers saw. Written by the crate `chain-watchers`.
--   money          of a configured asset, at least its `min_deposit`: it is reported to the ledger.
--   dust           less than that: kept here, shown and summed, in no event, until an operator takes it up.
--   unknown_token  of a contract or mint that is not configured: kept here and shown; its decimals are not known.
-- Money that no payment claims is reported, too, once it is confirmed: `revision` is set while `payment_id` is null. From
-- then on it is the ledger's to say whose it is, and no claim matches it any more.
ALTER TABLE deposit_observations
    ADD COLUMN kind text NOT NULL DEFAULT 'money'
        CONSTRAINT deposit_observations_kind CHECK (kind IN ('money', 'dust', 'unknown_token'));

CREATE INDEX deposit_observations_odd ON deposit_observations (kind, block_time DESC) WHERE kind <> 'money';

-- Which aggregate a report is for. `payment_id` is that aggregate's id: of a payment, or of an unmatched deposit.
ALTER TABLE watcher_outbox
    ADD COLUMN aggregate_type text NOT NULL DEFAULT 'payment'
        CONSTRAINT watcher_outbox_aggregate CHECK (aggregate_type IN ('payment', 'deposit'));

-- Read model `blockchain_transactions`: what an operator decided about a deposit that did not count.
--   decision              assigned (it counts now) or refunded (it was sent back); NULL: nothing.
--   decision_transaction  of refunded: the transaction that is said to have sent it.
ALTER TABLE blockchain_transactions
    ADD COLUMN decision             text CHECK (decision IN ('assigned', 'refunded')),
    ADD COLUMN decision_reason      text,
    ADD COLUMN decision_transaction text,
    ADD COLUMN decided_at           timestamptz;

CREATE INDEX idx_blockchain_held ON blockchain_transactions (block_time DESC) WHERE disposition = 'hold';

-- Read model `unmatched_deposits`: money at addresses that no payment claimed, from its confirmation on.
--   id          made from the deposit's key, as in blockchain_transactions.
--   status      recorded, or orphaned: its block left the chain.
--   decision    as above; `payment_id` is the payment of an assigned one.
CREATE TABLE unmatched_deposits (
    id                   uuid          CONSTRAINT unmatched_deposits_pkey PRIMARY KEY,
    blockchain           text          NOT NULL,
    transaction_hash     text          NOT NULL,
    leg                  text          NOT NULL,
    from_address         text,
    to_address           text          NOT NULL,
    asset                text          NOT NULL,
    amount_minor         numeric(39,0) NOT NULL,
    block_number         bigint,
    block_hash           text          NOT NULL,
    block_time           timestamptz   NOT NULL,
    status               text          NOT NULL CHECK (status IN ('recorded', 'orphaned')),
    decision             text          CHECK (decision IN ('assigned', 'refunded')),
    payment_id           uuid          CHECK ((payment_id IS NOT NULL) = (decision IS NOT DISTINCT FROM 'assigned')),
    decision_reason      text,
    decision_transaction text,
    decided_at           timestamptz,
    created_at           timestamptz   NOT NULL,
    updated_at           timestamptz   NOT NULL,
    position             bigint        NOT NULL
);

CREATE INDEX idx_unmatched_deposits_block_time ON unmatched_deposits (block_time DESC);
