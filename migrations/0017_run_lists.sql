-- The lists of runs, the newest first: of a tenant, of one of its orchestrations, of one of its sessions, and of all tenants.
--
-- A list without a status reads the newest runs of each status and merges them, so one index serves both. A flush that
-- leaves the run running changes none of these columns, and its update stays heap-only; a claim, a park and an end
-- change `status`, which the older indexes on `runs` have in their conditions, so they were never heap-only.
--
-- A migration is one transaction, which excludes `concurrently`: claims and flushes wait while the indexes are built, about
-- 10 s for a million runs.
-- squawk-ignore require-concurrent-index-creation
create index runs_listed on runs (tenant_id, status, queued_at, run_id);
-- squawk-ignore require-concurrent-index-creation
create index runs_listed_by_orchestration on runs (tenant_id, orchestration_id, status, queued_at, run_id);
-- squawk-ignore require-concurrent-index-creation
create index runs_listed_by_session on runs (tenant_id, session_id, queued_at, run_id) where session_id is not null;
-- squawk-ignore require-concurrent-index-creation
create index runs_listed_of_all on runs (status, queued_at, run_id);
