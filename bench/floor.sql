-- Beside the table `events` of migrations/0001_ledger.sql: where the floor takes its positions from. A sequence is cheaper
-- than dense positions, and leaves gaps.
CREATE SEQUENCE floor_position;
