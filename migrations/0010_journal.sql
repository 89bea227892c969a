-- The read models `journal` and `feed`. `journal` takes the place of `balances`: its tables are dropped and made anew, and
-- filled from `events` by a rebuild (at the start of the role `projections`, or `wopay projections rebuild journal`).
DROP TABLE ledger_postings;
DROP TABLE account_balances;

-- Read model `journal` ---------------------------------------------------------------------------------------------------
-- Four totals of an account in an asset stand in each of these tables:
--
--   posted_debit_minor, posted_credit_minor     everything ever posted on that side
--   pending_debit_minor, pending_credit_minor   what is expected on that side now: a release takes away what it releases
--
-- Over all accounts, posted debits equal posted credits and pending debits pending credits, per asset, at every position.

-- The books as of the follower's checkpoint, and who is meant by `balance_id`.
--   id        that of the first line: position × 256 + line. So a rebuild gives the same, and a balance that began after
--             position p is one whose id is at least (p + 1) × 256.
--   position  of the last line.
-- The rows change often and their keys never: room on the page keeps changes out of the indexes.
CREATE TABLE account_balances (
    id                   bigint  PRIMARY KEY,
    account              text    COLLATE "C" NOT NULL,
    asset                text    COLLATE "C" NOT NULL,
    position             bigint  NOT NULL,
    posted_debit_minor   numeric NOT NULL,
    posted_credit_minor  numeric NOT NULL,
    pending_debit_minor  numeric NOT NULL,
    pending_credit_minor numeric NOT NULL,
    CONSTRAINT idx_account_balances_account UNIQUE (account, asset)
) WITH (fillfactor = 50);

-- The journal: one line for each posting of an event, with the totals of its account and asset after it. So a balance as of
-- a position is the last line up to it: one probe of the second index, however long the journal is.
--   releases      whether a pending line takes away an earlier one on the other side.
--   effective_at  when it took effect: the block's time for deposits.
-- Everything else about the event is in `events`, at the same position.
CREATE TABLE ledger_postings (
    position             bigint        NOT NULL,
    balance_id           bigint        NOT NULL,
    recorded_at          timestamptz   NOT NULL,
    effective_at         timestamptz   NOT NULL,
    line                 smallint      NOT NULL,
    releases             boolean       NOT NULL,
    layer                text          NOT NULL CHECK (layer IN ('pending', 'posted')),
    side                 text          NOT NULL CHECK (side IN ('debit', 'credit')),
    event_type           text          NOT NULL,
    amount_minor         numeric(39,0) NOT NULL,
    posted_debit_minor   numeric       NOT NULL,
    posted_credit_minor  numeric       NOT NULL,
    pending_debit_minor  numeric       NOT NULL,
    pending_credit_minor numeric       NOT NULL,
    PRIMARY KEY (position, line),
    CONSTRAINT idx_ledger_postings_balance UNIQUE (balance_id, position, line)
);

-- Lines by the day in which they took effect (UTC) and the event that made them: their sums, and between which positions
-- they stand. A balance by effective time adds up the whole days up to a position; days that are cut, by the time or by the
-- position, are looked up by the hour, and hours that are cut line by line. Reports by day, week and month are sums of
-- these, too.
--   posted_lines  lines of the layer `posted`.
CREATE TABLE account_days (
    balance_id           bigint      NOT NULL,
    day                  timestamptz NOT NULL,
    event_type           text        COLLATE "C" NOT NULL,
    first_position       bigint      NOT NULL,
    last_position        bigint      NOT NULL,
    posted_lines         bigint      NOT NULL,
    posted_debit_minor   numeric     NOT NULL,
    posted_credit_minor  numeric     NOT NULL,
    pending_debit_minor  numeric     NOT NULL,
    pending_credit_minor numeric     NOT NULL,
    PRIMARY KEY (balance_id, day, event_type)
) WITH (fillfactor = 70);

-- Lines by the hour in which they took effect (UTC).
CREATE TABLE account_hours (
    balance_id           bigint      NOT NULL,
    hour                 timestamptz NOT NULL,
    first_position       bigint      NOT NULL,
    last_position        bigint      NOT NULL,
    posted_debit_minor   numeric     NOT NULL,
    posted_credit_minor  numeric     NOT NULL,
    pending_debit_minor  numeric     NOT NULL,
    pending_credit_minor numeric     NOT NULL,
    PRIMARY KEY (balance_id, hour)
) WITH (fillfactor = 80);

-- Read model `feed` ------------------------------------------------------------------------------------------------------
-- A merchant's own events, numbered 1, 2, 3 … without a gap: those of the merchant and of its payments.
CREATE TABLE merchant_events (
    merchant_id   uuid   NOT NULL,
    feed_sequence bigint NOT NULL,
    position      bigint NOT NULL,
    PRIMARY KEY (merchant_id, feed_sequence)
);
