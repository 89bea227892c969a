-- What the watcher that last moved a chain's cursor looks for: asset ids, sorted. Written by the crate `chain-watchers` with
-- the cursor; read by others, who take payments in a configured asset only when it is in here. NULL: written by a program
-- that did not say. A watcher that lacks one of these assets does not move the cursor while its row is fresh: another one,
-- with a newer configuration, is at work.
ALTER TABLE chain_cursors ADD COLUMN assets text[];
