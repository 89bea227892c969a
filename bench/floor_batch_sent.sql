-- pgbench: a batch of events a transaction, every payload and metadata sent and read by itself.
INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at)
SELECT n, 'payment', '019ab000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 1, 'PaymentCreated', '1.0',
       payload::json, metadata::json, clock_timestamp()
FROM (SELECT nextval('floor_position') AS n, e.* FROM unnest(:payloads::text[], :metadatas::text[]) AS e (payload, metadata)) AS e;
