-- pgbench: one event a transaction. Payload and metadata travel as parameters, as they do for everybody else.
INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at)
SELECT n, 'payment', '019ab000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 1, 'PaymentCreated', '1.0',
       :payload::json, :metadata::json, clock_timestamp()
FROM nextval('floor_position') AS n;
