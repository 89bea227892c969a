-- Which version of each read model made the stored rows. Written by the crate `projections`: with the first event that
-- its follower applies, and in the transaction in which a rebuild swaps new tables in.
--
-- A read model without a row here, in a ledger whose follower has applied anything, was filled by a program that knew no
-- versions, or never: the role `projections` rebuilds it at its next start.
CREATE TABLE projection_versions (
    model        text        PRIMARY KEY,
    version      integer     NOT NULL,
    -- Of the last rebuild; NULL for rows that the follower has made from the first event on.
    rebuilt_at   timestamptz,
    rebuilt_upto bigint,
    seconds      double precision
);
