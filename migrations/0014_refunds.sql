-- Refunds in the read model `payments`. Written by the crate `projections`.

-- What was sent back of the confirmed amount, as recorded; never more than that but for a reorganization. No event of an
-- older version of the program speaks of refunds, so that 0 is what a rebuild makes of the rows that are there.
ALTER TABLE payments
    ADD COLUMN amount_refunded_minor numeric NOT NULL DEFAULT 0;
