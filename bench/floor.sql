-- Beside the table `events` of migrations/0001_ledger.sql: where the floor takes its positions and ids from. A sequence is
-- cheaper than dense positions, and leaves gaps.
CREATE SEQUENCE floor_position;

-- An id as long as a UUID that grows like one of version 7. Inlined into the statement.
CREATE FUNCTION floor_id() RETURNS text LANGUAGE sql VOLATILE
RETURN '019ab000-0000-7000-8000-' || lpad(to_hex(currval('floor_position')), 12, '0');
