-- What was recorded for an address, to be compared with what it holds (docs/decisions/0021-native-from-contracts.md).
CREATE INDEX deposit_observations_address ON deposit_observations (chain, address);
