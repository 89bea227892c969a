-- Up to which height final blocks were searched for tokens that nobody configured (docs/decisions/0024-odd-money.md).
-- Written by the crate `chain-watchers` under the cursor's lock. NULL: not begun yet; then it begins with what becomes
-- final from now on. A chain that is watched for the first time begins below its first block.
ALTER TABLE chain_cursors ADD COLUMN swept_height bigint CHECK (swept_height >= 0);

-- How many transfers of an unknown token are recorded already, of all addresses and of one.
CREATE INDEX deposit_observations_unknown ON deposit_observations (chain, asset, address) WHERE kind = 'unknown_token';
