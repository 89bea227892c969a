-- The write side: the append itself, and the cursors of the address pool. Written by the crate `commands`.

-- Appends a group of commands: all events and claims of every command that wins, nothing of any that loses.
--
-- Arguments are arrays of equal length within their block: one entry per command, per event, per claim. Events and
-- claims name their command by its index, from 0. No two commands of a group may share an aggregate or a claim (the
-- caller sees to it), so whether one wins does not depend on another.
--
-- The first row returned is (NULL, first position given out, …); then follows a row per loser, see find_losers. Winners'
-- events have dense positions in the order given.
--
-- The lock on `ledger_head` comes first. Every later statement of a volatile function takes a new snapshot, which by
-- then shows all that other processes have appended: what is found here is still true at the commit.
--
-- Most groups have no loser, and probing for losers costs a quarter of an append. So the constraints are left to find
-- one, unless the caller says `careful` because it has just met some: a violated constraint wastes what the group had
-- written so far.
CREATE FUNCTION append_events(
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
    UPDATE ledger_head h SET position = h.position + cardinality(event_names)
    RETURNING h.position - cardinality(event_names) INTO STRICT head;

    -- Reading the clock under the lock makes recorded_at follow position as far as the clock itself does.
    at := clock_timestamp();

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

-- Tells processes that keep merchants in memory which of them change with the group's winners. Called for groups with
-- merchants only: a notification serializes commits, and payments must not pay for it.
CREATE FUNCTION notify_merchants(command_types text[], command_ids text[], losers integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_notify('wopay_merchants', c.aggregate_id)
    FROM unnest(command_types, command_ids) WITH ORDINALITY AS c (aggregate_type, aggregate_id, ordinal)
    WHERE c.aggregate_type = 'merchant' AND c.ordinal - 1 <> ALL (losers);
END;
$$;

-- The commands of a group that cannot be appended, in order, with the reason: the stream's last sequence if it is not
-- the expected one, else the index of the first of the command's claims that is taken, with its holder.
--
-- The probes are LATERAL … LIMIT 1 so that no plan can turn them into a scan of the table, however small it was when the
-- plan was made.
CREATE FUNCTION find_losers(
    command_types    text[],
    command_ids      text[],
    command_expected bigint[],
    claim_commands   integer[],
    claim_kinds      text[],
    claim_keys       text[]
) RETURNS TABLE (command integer, stream_sequence bigint, claim integer, holder text, detail text)
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY
        SELECT DISTINCT ON (1) lost.command, lost.stream_sequence, lost.claim, lost.holder, lost.detail
        FROM (
            SELECT (c.ordinal - 1)::integer, coalesce(last.sequence, 0), NULL::integer, NULL::text, NULL::text
            FROM unnest(command_types, command_ids, command_expected) WITH ORDINALITY
                 AS c (aggregate_type, aggregate_id, expected, ordinal)
            LEFT JOIN LATERAL (
                SELECT e.sequence FROM events e
                WHERE e.aggregate_type = c.aggregate_type AND e.aggregate_id = c.aggregate_id
                ORDER BY e.sequence DESC LIMIT 1
            ) AS last ON true
            WHERE coalesce(last.sequence, 0) <> c.expected
            UNION ALL
            SELECT c.command, NULL, (c.ordinal - 1)::integer, taken.aggregate_id, taken.detail
            FROM unnest(claim_commands, claim_kinds, claim_keys) WITH ORDINALITY AS c (command, kind, key, ordinal)
            CROSS JOIN LATERAL (
                SELECT k.aggregate_id, k.detail::text AS detail FROM claims k
                WHERE k.kind = c.kind AND k.key = c.key LIMIT 1
            ) AS taken
        ) AS lost (command, stream_sequence, claim, holder, detail)
        ORDER BY 1, 3 NULLS FIRST;
END;
$$;

-- Whether a command of the group follows an event that is not there.
CREATE FUNCTION has_missing_predecessor(command_types text[], command_ids text[], command_expected bigint[])
RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM unnest(command_types, command_ids, command_expected) AS c (aggregate_type, aggregate_id, expected)
        LEFT JOIN LATERAL (
            SELECT e.sequence FROM events e
            WHERE e.aggregate_type = c.aggregate_type AND e.aggregate_id = c.aggregate_id AND e.sequence = c.expected
            LIMIT 1
        ) AS predecessor ON c.expected > 0
        WHERE c.expected > 0 AND predecessor.sequence IS NULL
    );
END;
$$;

-- How much of each family's address pool has been given out. Moves only forward; what was taken and not used is lost.
CREATE TABLE address_cursors (
    family   text   PRIMARY KEY,
    next_idx bigint NOT NULL CHECK (next_idx >= 0)
);

-- Gives out the next addresses of a family, at most `wanted`, fewer when the pool ends, none when it is used up.
-- The lock comes first, so that the pool is read as it is when it is this caller's turn.
CREATE FUNCTION lease_addresses(wanted_family text, wanted bigint) RETURNS TABLE (idx bigint, address text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    first bigint;
BEGIN
    INSERT INTO address_cursors (family, next_idx) VALUES (wanted_family, 0) ON CONFLICT DO NOTHING;
    SELECT c.next_idx INTO STRICT first FROM address_cursors c WHERE c.family = wanted_family FOR UPDATE;
    RETURN QUERY
        SELECT p.idx, p.address FROM address_pool p
        WHERE p.family = wanted_family AND p.idx >= first AND p.idx < first + wanted
        ORDER BY p.idx;
    -- Past the last one given, not by their number: even a hole in the pool may cost addresses, never repeat one.
    UPDATE address_cursors c
    SET next_idx = greatest(c.next_idx, 1 + coalesce((
        SELECT max(p.idx) FROM address_pool p
        WHERE p.family = wanted_family AND p.idx >= first AND p.idx < first + wanted), -1))
    WHERE c.family = wanted_family;
END;
$$;
