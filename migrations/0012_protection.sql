-- What was recorded stays as it was recorded. Two locks on the same door: the application's role has no right to change or
-- delete these rows (`wopay migrate` sees to it, see app/src/database/grants.rs), and for everybody else, the owner
-- included, these triggers refuse. Whoever may drop a trigger can still alter a row: `wopay audit verify` names it.
--
-- The triggers are of statements that never happen in normal work, so an append pays nothing for them. That of
-- `ledger_head` is a comparison in the statement that appends anyhow.

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on "%" is refused: what was recorded is never changed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state';
END;
$$;

DO $$
DECLARE
    protected text;
BEGIN
    FOREACH protected IN ARRAY ARRAY['events', 'claims', 'audit_tiles', 'audit_checkpoints'] LOOP
        EXECUTE format('CREATE TRIGGER protect BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', protected);
    END LOOP;
END;
$$;

-- The time of the newest event. Appends never record an earlier one, whatever the clock does, so a moment is found among
-- positions by halving.
ALTER TABLE ledger_head ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT 'epoch';

UPDATE ledger_head
SET recorded_at = greatest(recorded_at, (SELECT max(recorded_at) FROM events));

CREATE TRIGGER protect BEFORE DELETE OR TRUNCATE ON ledger_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER protect_time AFTER UPDATE ON ledger_head
    FOR EACH ROW WHEN (NEW.recorded_at < OLD.recorded_at)
    EXECUTE FUNCTION refuse_change();

-- The head never stands below the newest event. Looked at when a transaction that moved it back commits: an append moves
-- it back itself, within its transaction, over what losers asked for. (The schema is named so that no temporary table of
-- the session's can pass for `events`.)
CREATE FUNCTION refuse_lost_positions() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    is_lost boolean;
BEGIN
    EXECUTE format('SELECT (SELECT max(position) FROM %1$I.events) > (SELECT position FROM %1$I.ledger_head)',
                   TG_TABLE_SCHEMA) INTO is_lost;
    IF is_lost THEN
        RAISE EXCEPTION 'UPDATE on "ledger_head" is refused: it would fall below the newest event'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN NULL;
END;
$$;

CREATE CONSTRAINT TRIGGER protect_position AFTER UPDATE ON ledger_head
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.position < OLD.position)
    EXECUTE FUNCTION refuse_lost_positions();

-- The append of 0005, with one difference: events take their time from `ledger_head`.
CREATE OR REPLACE FUNCTION append_events(
    careful          boolean,
    command_types    text[],
    command_ids      text[],
    command_expected bigint[],
    event_commands   integer[],
    event_aggregates text[],
    event_ids        text[],
    event_sequences  bigint[],
    event_names      text[],
    event_versions   text[],
    event_payloads   json[],
    event_metadata   json[],
    claim_commands   integer[],
    claim_ids        text[],
    claim_kinds      text[],
    claim_keys       text[],
    claim_details    json[]
) RETURNS TABLE (command integer, first_position bigint, stream_sequence bigint, claim integer, holder text, detail text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    head     bigint;
    appended bigint;
    losers   integer[];
    at       timestamptz;
BEGIN
    -- The clock is read under the lock, and never goes back: recorded_at follows position.
    UPDATE ledger_head h
    SET position = h.position + cardinality(event_names),
        recorded_at = greatest(h.recorded_at, clock_timestamp())
    RETURNING h.position - cardinality(event_names), h.recorded_at INTO STRICT head, at;

    -- A stream that is shorter than a command believes is the one thing that no constraint notices.
    IF NOT (careful OR 0 < ANY (command_expected)
                       AND has_missing_predecessor(command_types, command_ids, command_expected)) THEN
        BEGIN
            INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
                                metadata, recorded_at)
            SELECT head + e.ordinal, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                   e.payload, e.metadata, at
            FROM unnest(event_aggregates, event_ids, event_sequences, event_names, event_versions, event_payloads,
                        event_metadata) WITH ORDINALITY
                 AS e (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, ordinal);
            IF cardinality(claim_commands) > 0 THEN
                INSERT INTO claims (kind, key, aggregate_id, detail)
                SELECT c.kind, c.key, c.aggregate_id, c.detail
                FROM unnest(claim_kinds, claim_keys, claim_ids, claim_details) AS c (kind, key, aggregate_id, detail);
            END IF;
            IF 'merchant' = ANY (command_types) THEN
                PERFORM notify_merchants(command_types, command_ids, '{}');
            END IF;
            RETURN QUERY SELECT NULL::integer, head + 1, NULL::bigint, NULL::integer, NULL::text, NULL::text;
            RETURN;
        EXCEPTION WHEN unique_violation THEN
            -- Somebody has lost. What was written is undone, the lock stays.
        END;
    END IF;

    -- Under the lock nothing comes between this look and the inserts.
    SELECT coalesce(array_agg(l.command), '{}') INTO losers
    FROM find_losers(command_types, command_ids, command_expected, claim_commands, claim_kinds, claim_keys) l;

    INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                        recorded_at)
    SELECT head + row_number() OVER (ORDER BY e.ordinal), e.aggregate_type, e.aggregate_id, e.sequence, e.event_type,
           e.event_version, e.payload, e.metadata, at
    FROM unnest(event_commands, event_aggregates, event_ids, event_sequences, event_names, event_versions,
                event_payloads, event_metadata) WITH ORDINALITY
         AS e (command, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, ordinal)
    WHERE e.command <> ALL (losers);
    GET DIAGNOSTICS appended = ROW_COUNT;

    INSERT INTO claims (kind, key, aggregate_id, detail)
    SELECT c.kind, c.key, c.aggregate_id, c.detail
    FROM unnest(claim_commands, claim_kinds, claim_keys, claim_ids, claim_details)
         AS c (command, kind, key, aggregate_id, detail)
    WHERE c.command <> ALL (losers);

    UPDATE ledger_head SET position = head + appended;
    IF 'merchant' = ANY (command_types) THEN
        PERFORM notify_merchants(command_types, command_ids, losers);
    END IF;

    RETURN QUERY SELECT NULL::integer, head + 1, NULL::bigint, NULL::integer, NULL::text, NULL::text;
    RETURN QUERY
        SELECT l.command, NULL::bigint, l.stream_sequence, l.claim, l.holder, l.detail
        FROM find_losers(command_types, command_ids, command_expected, claim_commands, claim_kinds, claim_keys) l
        WHERE l.command = ANY (losers);
END;
$$;
