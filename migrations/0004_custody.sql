-- The wallet's seed and the addresses derived from it. Written by the crate `custody`.

-- One seed for a ledger: of two first starts at the same moment only one stores its seed, the other takes that one.
CREATE TABLE wallet_seeds (
    singleton   boolean     NOT NULL DEFAULT true CHECK (singleton),
    -- BIP-32 fingerprint of the root key: tells wallets apart, reveals nothing.
    fingerprint text        NOT NULL,
    -- BIP-39 entropy in AES-256-GCM; the fingerprint is authenticated with it.
    sealed      bytea       NOT NULL,
    -- Fingerprint of the master key that opens it.
    key_id      text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT wallet_seeds_one PRIMARY KEY (singleton)
);

-- Addresses derived ahead of need, idx 0, 1, 2 … without a gap. Rows never change and are never deleted.
CREATE TABLE address_pool (
    family  text   NOT NULL,
    -- The last step of the derivation path; below 2^31, where BIP-32's hardened indexes begin.
    idx     bigint NOT NULL CHECK (idx >= 0 AND idx < 2147483648),
    -- EVM: lower-case hex with 0x.
    address text   NOT NULL,
    CONSTRAINT address_pool_idx PRIMARY KEY (family, idx),
    CONSTRAINT address_pool_address UNIQUE (family, address)
);
