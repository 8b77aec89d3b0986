-- The tenant feed reads the journal by time. A block range index costs a flush next to nothing, and it is enough: the
-- journal only grows at its end, so each range of pages holds entries of a short time.
--
-- Writes to the journal wait while the index is built. A migration is one transaction, which excludes `concurrently`;
-- a block range index is built by one read of the table.
-- squawk-ignore require-concurrent-index-creation
create index journal_at on journal using brin (at) with (autosummarize = on, pages_per_range = 32);
