-- Webhooks: where merchants want to be told, what has to be told, and what happened when it was tried.
-- Written by the crate `webhooks`.

-- A merchant's webhook settings, from its `WebhookConfigured` events.
CREATE TABLE webhook_endpoints (
    merchant_id   uuid        PRIMARY KEY,
    url           text,
    secret_ref    uuid        NOT NULL,
    -- The event that says so. Payment events before it are not announced here.
    position      bigint      NOT NULL,
    configured_at timestamptz NOT NULL,
    -- Its receiver answered 410 Gone. A new configuration takes this back.
    disabled_at   timestamptz
);

-- One row for each payment event and target: planned in the transaction that moves the follower's checkpoint.
CREATE TABLE webhook_deliveries (
    -- Computed from the event and the target, so that planning again adds nothing. `webhook-id` is made from it.
    id          uuid        PRIMARY KEY,
    merchant_id uuid        NOT NULL,
    payment_id  uuid        NOT NULL,
    position    bigint      NOT NULL,
    sequence    bigint      NOT NULL,
    event       text        NOT NULL,
    target      text        NOT NULL CHECK (target IN ('endpoint', 'callback')),
    url         text        NOT NULL,
    -- Scheme, host and port of the URL: with the merchant, the lane that shares one concurrency limit.
    origin      text        NOT NULL,
    -- The body without its signature; `json` keeps the text as it is.
    body        json        NOT NULL,
    state       text        NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'delivered', 'failed', 'disabled')),
    -- Attempts whose outcome is known.
    attempts    integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- When the next attempt may be claimed. While one is in flight: when its lease ends.
    due_at      timestamptz NOT NULL DEFAULT now(),
    -- The claim that may settle the attempt in flight.
    lease       uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    settled_at  timestamptz
);

-- Claims go lane by lane, so that a lane with a million rows costs the others nothing.
CREATE INDEX webhook_deliveries_lane ON webhook_deliveries (merchant_id, origin, due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_payment ON webhook_deliveries (payment_id, sequence);

-- Every attempt that was made. Only ever appended to.
CREATE TABLE webhook_logs (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id      uuid        NOT NULL,
    merchant_id      uuid        NOT NULL,
    payment_id       uuid        NOT NULL,
    event            text        NOT NULL,
    url              text        NOT NULL,
    attempt          integer     NOT NULL CHECK (attempt > 0),
    http_status      integer,
    latency_ms       bigint      NOT NULL,
    -- Why the attempt failed; null when it did not.
    error            text,
    -- At most 1 KiB of what the receiver answered.
    response_excerpt text,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX webhook_logs_payment ON webhook_logs (payment_id, id);
CREATE INDEX webhook_logs_merchant ON webhook_logs (merchant_id, id);
