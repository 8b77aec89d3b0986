-- People answer in their own time: what a run spends paused is no part of the time that it may take.
alter table runs add column paused_at timestamptz, add column paused_for interval not null default '0';

-- Which step asks, and since when.
alter table waits add column step_id text not null default '', add column opened_at timestamptz not null default now();
