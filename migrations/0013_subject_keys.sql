-- A key for each subject of the vault, and what forgetting leaves. Written by the crate `vault`, but for the last table.

-- The key under which a subject's secrets are sealed, itself sealed under the master key. Without it nothing of the
-- subject opens, in no copy of `secrets`, wherever that is.
CREATE TABLE subject_keys (
    subject      uuid        NOT NULL,
    -- AES-256-GCM; the subject is authenticated with it. NULL: destroyed.
    sealed       bytea,
    -- Fingerprint of the master key that opens it.
    key_id       text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    destroyed_at timestamptz,
    CONSTRAINT subject_keys_subject PRIMARY KEY (subject),
    CONSTRAINT subject_keys_destroyed CHECK ((sealed IS NULL) = (destroyed_at IS NOT NULL))
);

-- Whether the row is sealed under its subject's key. Rows of earlier versions are sealed under the master key; whoever
-- opens the vault seals them again. `sealed` is empty when the subject was forgotten.
ALTER TABLE secrets ADD COLUMN by_subject boolean NOT NULL DEFAULT false;

CREATE INDEX secrets_by_master ON secrets (ref) WHERE NOT by_subject;

-- A destroyed key stays destroyed.
CREATE FUNCTION refuse_revival() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the key of subject % was destroyed, for ever', OLD.subject
        USING ERRCODE = 'object_not_in_prerequisite_state';
END;
$$;

CREATE TRIGGER protect_destroyed BEFORE UPDATE OR DELETE ON subject_keys
    FOR EACH ROW WHEN (OLD.sealed IS NULL)
    EXECUTE FUNCTION refuse_revival();

-- Merchants that were forgotten: nothing is announced to them from that position on. Written by the crate `webhooks`.
CREATE TABLE webhook_forgotten (
    merchant_id  uuid        PRIMARY KEY,
    position     bigint      NOT NULL,
    forgotten_at timestamptz NOT NULL
);

-- A merchant's row says when it was forgotten. Written by the crate `projections`.
ALTER TABLE merchants DROP CONSTRAINT merchants_status_check;
ALTER TABLE merchants ADD CONSTRAINT merchants_status_check CHECK (status IN ('active', 'suspended', 'forgotten'));
