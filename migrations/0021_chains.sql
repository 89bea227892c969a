-- Chains at run time: tokens that are added, and pauses, which are events of the aggregate `chain`.

-- From which block a chain's watcher looks for a token that was added at run time. Written by the crate `chain-watchers`
-- under the lock of the chain's cursor; read by others, who take payments in the token from then on. A watcher that does
-- not know a token of its chain in here must not move the cursor: it would step over money. Rows stay.
CREATE TABLE watched_assets (
    chain      text        NOT NULL,
    -- `<chain>/<contract or mint>`.
    asset      text        NOT NULL,
    from_block bigint      NOT NULL CHECK (from_block >= 0),
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT watched_assets_key PRIMARY KEY (chain, asset)
);

-- Tells processes which merchants, access keys and chains change with the group's winners: a merchant by its id, the
-- others by `access_key:` or `chain:` and theirs. Called for groups with such commands only: a notification serializes
-- commits, and payments must not pay for it. Written by the crate `commands`.
CREATE OR REPLACE FUNCTION notify_merchants(command_types text[], command_ids text[], losers integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_notify('wopay_merchants',
                      CASE c.aggregate_type WHEN 'merchant' THEN c.aggregate_id
                                            ELSE c.aggregate_type || ':' || c.aggregate_id END)
    FROM unnest(command_types, command_ids) WITH ORDINALITY AS c (aggregate_type, aggregate_id, ordinal)
    WHERE c.aggregate_type IN ('merchant', 'access_key', 'chain') AND c.ordinal - 1 <> ALL (losers);
END;
$$;

-- `append_events` calls it for groups with merchants or access keys; from now on also for groups with chains. Nothing
-- else of the function changes, so its newest text is taken as it stands and only the two conditions are replaced.
DO $$
DECLARE
    condition CONSTANT text := $text$command_types && ARRAY['merchant', 'access_key']$text$;
    wanted    CONSTANT text := $text$command_types && ARRAY['merchant', 'access_key', 'chain']$text$;
    body      text;
BEGIN
    SELECT pg_get_functiondef(p.oid) INTO STRICT body
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.proname = 'append_events' AND n.nspname = current_schema();
    IF (length(body) - length(replace(body, condition, ''))) / length(condition) <> 2 THEN
        RAISE EXCEPTION 'append_events does not hold the condition % twice', condition;
    END IF;
    EXECUTE replace(body, condition, wanted);
END;
$$;
