-- The ledger: the only truth. Written by the crate `commands`, in one append; never updated, never deleted.
--
-- No schema is named: a ledger is the schema that `search_path` points to.

-- The position of the newest event. Every append takes this row's lock, so position order is commit order and positions
-- have no gap.
CREATE TABLE ledger_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position  bigint  NOT NULL CHECK (position >= 0)
) WITH (fillfactor = 10);

INSERT INTO ledger_head (position) VALUES (0);

CREATE TABLE events (
    position       bigint      NOT NULL,
    aggregate_type text        COLLATE "C" NOT NULL,
    aggregate_id   text        COLLATE "C" NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence > 0),
    event_type     text        NOT NULL,
    event_version  text        NOT NULL,
    payload        json        NOT NULL,
    metadata       json        NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT events_stream PRIMARY KEY (aggregate_type, aggregate_id, sequence),
    CONSTRAINT events_position UNIQUE (position)
);

-- How an event-sourced system has unique constraints: a key that only one aggregate may hold, taken in the same append
-- as the event that needs it.
CREATE TABLE claims (
    kind         text COLLATE "C" NOT NULL,
    key          text COLLATE "C" NOT NULL,
    aggregate_id text NOT NULL,
    detail       json,
    CONSTRAINT claims_key PRIMARY KEY (kind, key)
);
