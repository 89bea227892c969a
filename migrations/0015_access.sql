-- Access keys of the house: processes that keep keys in memory are told when one changes, as they are of merchants.
-- Written by the crate `commands`.

-- Tells processes which merchants and access keys change with the group's winners: a merchant by its id, an access key by
-- `access_key:` and its id. Called for groups with such commands only: a notification serializes commits, and payments
-- must not pay for it.
CREATE OR REPLACE FUNCTION notify_merchants(command_types text[], command_ids text[], losers integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_notify('wopay_merchants',
                      CASE c.aggregate_type WHEN 'merchant' THEN c.aggregate_id
                                            ELSE 'access_key:' || c.aggregate_id END)
    FROM unnest(command_types, command_ids) WITH ORDINALITY AS c (aggregate_type, aggregate_id, ordinal)
    WHERE c.aggregate_type IN ('merchant', 'access_key') AND c.ordinal - 1 <> ALL (losers);
END;
$$;

-- `append_events` calls it for groups with merchants; from now on also for groups with access keys. Nothing else of the
-- function changes, so its newest text is taken as it stands and only the two conditions in it are replaced.
DO $$
DECLARE
    condition CONSTANT text := $text$'merchant' = ANY (command_types)$text$;
    wanted    CONSTANT text := $text$command_types && ARRAY['merchant', 'access_key']$text$;
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
