-- What the chain watchers know. Written by the crate `chain-watchers`; `chain_heads` is read by others.
--
-- One transaction moves a chain's cursor, its block window, its deposits and the reports about them. The cursor's row
-- lock is the fence: whoever holds it is the only writer of that chain's rows.

-- The last block processed. `base_height` is where this installation began to watch.
CREATE TABLE chain_cursors (
    chain       text        PRIMARY KEY,
    height      bigint      NOT NULL CHECK (height >= 0),
    hash        text        NOT NULL,
    base_height bigint      NOT NULL CHECK (base_height >= 0),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- The canonical chain as processed: every block of the reorg window, and below it a sparse locator.
CREATE TABLE chain_blocks (
    chain       text        NOT NULL,
    height      bigint      NOT NULL CHECK (height >= 0),
    hash        text        NOT NULL,
    parent_hash text        NOT NULL,
    block_time  timestamptz NOT NULL,
    CONSTRAINT chain_blocks_height PRIMARY KEY (chain, height)
);

-- Money that arrived at addresses of ours, whatever the asset. A deposit keeps its row through reorganizations: its
-- block is not part of its identity.
CREATE TABLE deposit_observations (
    chain                  text          NOT NULL,
    tx_hash                text          NOT NULL,
    leg                    text          NOT NULL,
    -- Null while no payment claims the address.
    payment_id             uuid,
    address                text          NOT NULL,
    asset                  text          NOT NULL,
    amount_minor           numeric(39,0) NOT NULL CHECK (amount_minor > 0),
    from_address           text,
    block_number           bigint        NOT NULL,
    block_hash             text          NOT NULL,
    block_time             timestamptz   NOT NULL,
    required_confirmations integer       CHECK (required_confirmations >= 1),
    stage                  text          NOT NULL CHECK (stage IN ('seen', 'confirmed', 'orphaned')),
    -- Id in `watcher_outbox` of the newest report; null while there was none.
    revision               bigint,
    CONSTRAINT deposit_observations_key PRIMARY KEY (chain, tx_hash, leg),
    CONSTRAINT deposit_observations_matched CHECK ((payment_id IS NULL) = (required_confirmations IS NULL))
);

CREATE INDEX deposit_observations_block ON deposit_observations (chain, block_number);
CREATE INDEX deposit_observations_unconfirmed ON deposit_observations (chain, block_number) WHERE stage = 'seen';
CREATE INDEX deposit_observations_unmatched ON deposit_observations (chain, address) WHERE payment_id IS NULL;

-- Reports on their way to the command stream. The id is the report's revision: it is taken under the cursor's lock, so
-- it grows with every report of a chain. A row stays until the ledger shows that the report was executed.
CREATE TABLE watcher_outbox (
    id         bigserial   PRIMARY KEY,
    chain      text        NOT NULL,
    payment_id uuid        NOT NULL,
    deposit    text        NOT NULL,
    message_id text        NOT NULL,
    body       json        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- When the stream acknowledged it, last.
    sent_at    timestamptz,
    -- How often it was sent.
    attempts   integer     NOT NULL DEFAULT 0
);

CREATE INDEX watcher_outbox_unsent ON watcher_outbox (id) WHERE sent_at IS NULL;
CREATE INDEX watcher_outbox_sent ON watcher_outbox (sent_at) WHERE sent_at IS NOT NULL;

-- The head processed. Confirmations of a block are height - block + 1.
CREATE TABLE chain_heads (
    chain            text        PRIMARY KEY,
    height           bigint      NOT NULL,
    hash             text        NOT NULL,
    finalized_height bigint,
    block_time       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
