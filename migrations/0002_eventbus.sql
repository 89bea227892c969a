-- How far each follower of the log has come. Written by the crate `eventbus`, in the transaction that writes what the
-- follower derives; anybody may read it.
CREATE TABLE follower_checkpoints (
    name       text        PRIMARY KEY,
    position   bigint      NOT NULL CHECK (position >= 0),
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 10);
