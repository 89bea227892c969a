-- Chains that are followed by addresses instead of by blocks; see docs/decisions/0025-solana-addresses.md.

-- An account at which money for an address of ours can arrive: the address itself, and its token accounts, also those
-- that were closed since. All transactions that mention the account are known up to `until_transaction`; null: its whole
-- history is still looked at. Written by the crate `chain-watchers` under the lock of the chain's cursor. A row that is lost
-- costs calls, no money: deposits are known by their keys.
CREATE TABLE watched_accounts (
    chain             text NOT NULL,
    address           text NOT NULL,
    account           text NOT NULL,
    until_transaction text,
    CONSTRAINT watched_accounts_key PRIMARY KEY (chain, address, account)
);
