-- The read side: what queries see. Every row here is folded from `events` by the follower `projections` and can be
-- thrown away: `wopay projections rebuild` makes the same rows again, in tables beside these, and swaps them in.
--
-- Columns and index names are those of the founding document, with what the ledger adds. Rules that hold for all:
--
-- * No foreign key crosses a read model, or one could not be rebuilt without the others.
-- * `text` instead of VARCHAR(n) and NUMERIC without a precision for amounts shown to people: the write side decides what
--   is allowed; here, a value that it has let through must never stop the follower.
-- * `…_minor` columns count minor units and are the exact amounts. The amount beside it is the same number with the
--   asset's decimals (up to 38 of them), for reports.
-- * `position` is the ledger position of the last event that touched the row, where nothing else is said.

-- Read model `merchants` -------------------------------------------------------------------------------------------------
-- Events hold no personal data and no secrets, so three of the founding document's columns mean something else here (why:
-- docs/decisions/0003-merchant-columns.md):
--   name, email  from the sealed profile, opened when the event is applied. A forgotten profile: '[forgotten]' and NULL.
--   api_key      the public prefix of the newest key that is not revoked, never the key: a prefix need not be unique.
--   api_secret   the reference of that key's sealed secret, never the secret.
-- That an e-mail belongs to one merchant is a claim of the write side.
CREATE TABLE merchants (
    id          uuid        PRIMARY KEY,
    name        text        NOT NULL,
    email       text,
    api_key     text,
    api_secret  uuid,
    webhook_url text,
    status      text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    profile     uuid        NOT NULL,
    position    bigint      NOT NULL
);

CREATE INDEX idx_merchants_email ON merchants (email);
CREATE INDEX idx_merchants_created_at ON merchants (created_at, id);

-- Every key ever issued. `position` is that of its issue: the newest live key is the one with the greatest.
CREATE TABLE merchant_api_keys (
    id          uuid        PRIMARY KEY,
    merchant_id uuid        NOT NULL,
    prefix      text        NOT NULL,
    secret      uuid        NOT NULL,
    issued_at   timestamptz NOT NULL,
    revoked_at  timestamptz,
    position    bigint      NOT NULL
);

CREATE INDEX idx_merchant_api_keys_merchant ON merchant_api_keys (merchant_id, position);

-- Read model `payments` --------------------------------------------------------------------------------------------------
-- `confirmations` is the count that the last event to state one gave, for reports of what was known when. The running
-- count is never stored: queries compute it from `chain_heads`.
-- `transaction_hash` is the transaction that last changed the status; a change without one (expiry) leaves it.
CREATE TABLE payments (
    id                     uuid          PRIMARY KEY,
    merchant_id            uuid          NOT NULL,
    order_id               text          NOT NULL,
    amount                 numeric       NOT NULL,
    currency               text          NOT NULL,
    blockchain             text          NOT NULL,
    status                 text          NOT NULL DEFAULT 'pending',
    payment_address        text          NOT NULL,
    transaction_hash       text,
    confirmations          integer       NOT NULL DEFAULT 0,
    expires_at             timestamptz   NOT NULL,
    created_at             timestamptz   NOT NULL,
    updated_at             timestamptz   NOT NULL,
    asset                  text          NOT NULL,
    decimals               smallint      NOT NULL,
    amount_minor           numeric(39,0) NOT NULL,
    amount_received_minor  numeric       NOT NULL DEFAULT 0,
    amount_confirmed_minor numeric       NOT NULL DEFAULT 0,
    flags                  text[]        NOT NULL DEFAULT '{}',
    callback_url           text,
    required_confirmations integer       NOT NULL,
    position               bigint        NOT NULL,
    CONSTRAINT idx_payments_merchant_order UNIQUE (merchant_id, order_id)
);

CREATE INDEX idx_payments_status ON payments (status);
CREATE INDEX idx_payments_created_at ON payments (created_at);
-- A merchant's list, newest first.
CREATE INDEX idx_payments_merchant_created_at ON payments (merchant_id, created_at, id);
-- What the scheduler looks for; small, however many payments there are.
CREATE INDEX idx_payments_due ON payments (expires_at, id) WHERE status IN ('pending', 'partially_paid');

-- Read model `blockchain_transactions` -----------------------------------------------------------------------------------
-- A row is one deposit: a movement of money to an address of ours. One transaction can pay several payments, or one of
-- them twice, so the founding document's UNIQUE (transaction_hash) is UNIQUE (blockchain, transaction_hash, leg).
--   id            made from the deposit's identity, so that a rebuild gives the same.
--   from_address  NULL where the chain names no single sender.
--   amount        NULL when the money is of an asset that the payment did not ask for: its decimals are not in the events.
--   gas_fee       NULL: the payer's cost, not reported by watchers.
--   confirmations as in payments.
--   status        seen, confirmed or orphaned.
CREATE TABLE blockchain_transactions (
    id               uuid          PRIMARY KEY,
    payment_id       uuid          NOT NULL,
    merchant_id      uuid          NOT NULL,
    blockchain       text          NOT NULL,
    transaction_hash text          NOT NULL,
    leg              text          NOT NULL,
    from_address     text,
    to_address       text          NOT NULL,
    amount           numeric,
    gas_fee          numeric,
    block_number     bigint,
    block_hash       text          NOT NULL,
    block_time       timestamptz   NOT NULL,
    confirmations    integer       NOT NULL DEFAULT 0,
    status           text          NOT NULL DEFAULT 'seen' CHECK (status IN ('seen', 'confirmed', 'orphaned')),
    asset            text          NOT NULL,
    decimals         smallint,
    amount_minor     numeric(39,0) NOT NULL,
    disposition      text          NOT NULL CHECK (disposition IN ('credit', 'hold')),
    hold_reason      text          CHECK ((hold_reason IS NOT NULL) = (disposition = 'hold')),
    created_at       timestamptz   NOT NULL,
    updated_at       timestamptz   NOT NULL,
    position         bigint        NOT NULL,
    CONSTRAINT idx_blockchain_deposit UNIQUE (blockchain, transaction_hash, leg)
);

CREATE INDEX idx_blockchain_tx_hash ON blockchain_transactions (transaction_hash);
CREATE INDEX idx_blockchain_payment_id ON blockchain_transactions (payment_id);
CREATE INDEX idx_blockchain_status ON blockchain_transactions (status);
-- What a merchant's pending balance is summed from.
CREATE INDEX idx_blockchain_pending ON blockchain_transactions (merchant_id, asset)
    WHERE status = 'seen' AND disposition = 'credit';

-- Read model `balances` --------------------------------------------------------------------------------------------------
-- The journal: one line for each posting of an event. Per position and asset, debits equal credits.
CREATE TABLE ledger_postings (
    position       bigint        NOT NULL,
    line           smallint      NOT NULL,
    aggregate_type text          NOT NULL,
    aggregate_id   text          NOT NULL,
    account        text          NOT NULL,
    side           text          NOT NULL CHECK (side IN ('debit', 'credit')),
    asset          text          NOT NULL,
    amount_minor   numeric(39,0) NOT NULL,
    recorded_at    timestamptz   NOT NULL,
    PRIMARY KEY (position, line)
);

CREATE INDEX idx_ledger_postings_account ON ledger_postings (account, asset, position);
CREATE INDEX idx_ledger_postings_aggregate ON ledger_postings (aggregate_id);

-- The sums of the journal. They may be wider than any one amount.
CREATE TABLE account_balances (
    account      text    NOT NULL,
    asset        text    NOT NULL,
    debit_minor  numeric NOT NULL,
    credit_minor numeric NOT NULL,
    position     bigint  NOT NULL,
    PRIMARY KEY (account, asset)
);

-- How to show amounts of an asset, as the newest payment that asked for it says.
CREATE TABLE assets (
    asset      text     PRIMARY KEY,
    blockchain text     NOT NULL,
    symbol     text     NOT NULL,
    decimals   smallint NOT NULL
);
