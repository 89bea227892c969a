-- Sealed secrets: what events refer to and never hold. Written by the crate `vault`.

CREATE TABLE secrets (
    ref        uuid        NOT NULL,
    -- Whom it belongs to (a merchant): all of a subject's rows are forgotten together.
    subject    uuid        NOT NULL,
    kind       text        NOT NULL CHECK (length(kind) BETWEEN 1 AND 40),
    -- AES-256-GCM; ref, subject and kind are authenticated with it.
    sealed     bytea       NOT NULL,
    -- Fingerprint of the master key that opens it.
    key_id     text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT secrets_ref PRIMARY KEY (ref)
);

CREATE INDEX secrets_subject ON secrets (subject);
