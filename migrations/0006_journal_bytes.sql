-- The size of a run's journal: the bytes of the outputs and event lines of all its entries. The statement that writes an
-- entry adds its bytes, so that a worker knows the size of a journal before it reads any of it. Entries that a worker of
-- an earlier version writes are not counted.
alter table runs add column journal_bytes bigint not null default 0;
