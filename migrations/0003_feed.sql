-- The feed of a tenant reads the journal by time. A block range index costs a flush next to nothing; the journal only
-- grows at its end, so each range of pages holds a short time.
--
-- Writing waits while it is built: a migration is one transaction, which excludes `concurrently`, and this kind of
-- index is built by one read of the table.
-- squawk-ignore require-concurrent-index-creation
create index journal_at on journal using brin (at) with (autosummarize = on, pages_per_range = 32);
