-- The audit log: a Merkle tree over all events (RFC 6962) and its signed checkpoints. Written by the crate `audit`, only
-- ever inserted into.

-- Hashes of the tree in tiles of 256, as in C2SP tlog-tiles: level 0 holds the leaves, each hash of a higher level is the
-- root of a full tile below it. A tile grows by rows: a row holds the hashes that were added, and how wide the tile is
-- with them.
CREATE TABLE audit_tiles (
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    idx    bigint   NOT NULL CHECK (idx >= 0),
    width  smallint NOT NULL CHECK (width BETWEEN 1 AND 256),
    hashes bytea    NOT NULL CHECK (octet_length(hashes) BETWEEN 32 AND 32 * width AND octet_length(hashes) % 32 = 0),
    CONSTRAINT audit_tiles_key PRIMARY KEY (level, idx, width)
);

-- Hashes do not compress.
ALTER TABLE audit_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- What was signed, as it was signed (C2SP tlog-checkpoint), for ever. `size` is the position of the newest event in it.
CREATE TABLE audit_checkpoints (
    size      bigint      NOT NULL CHECK (size > 0),
    root      bytea       NOT NULL CHECK (octet_length(root) = 32),
    note      text        NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT audit_checkpoints_key PRIMARY KEY (size)
);
