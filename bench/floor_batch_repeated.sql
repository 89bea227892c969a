-- pgbench: a batch of events a transaction, all with the one payload that was sent: less work than any real writer has.
INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at)
SELECT n, 'payment', '019ab000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 1, 'PaymentCreated', '1.0',
       :payload::json, :metadata::json, clock_timestamp()
FROM (SELECT nextval('floor_position') AS n FROM generate_series(1, :batch)) AS e;
