-- The time that a run is paused does not count towards its time limit: people may take long to answer.
alter table runs add column paused_at timestamptz, add column paused_for interval not null default '0';

-- The step that waits, and the time at which the wait was opened.
alter table waits add column step_id text not null default '', add column opened_at timestamptz not null default now();
