-- Watchers ask for each receiver of a block whether it is ours, and nearly none is. Of a million addresses a hash index answers
-- for a stranger with one page, where a tree of texts takes four.
CREATE INDEX address_pool_by_address ON address_pool USING hash (address);
