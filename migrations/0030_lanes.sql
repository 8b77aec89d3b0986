-- Lanes: the settings that operators have changed, and the start rates of what Postgres hands out. docs/protocol.md 5.23.

create table lanes (
  lane        text primary key,
  -- Only what was changed: what is absent has its default, which the code knows.
  settings    jsonb not null,
  updated_at  timestamptz not null default now()
);

-- The token bucket of a lane with a start rate, for starts that the queue in Redis does not hand out.
create table lane_starts (
  lane    text primary key,
  -- How many may start, as of `at`.
  starts  double precision not null,
  at      timestamptz not null
);

-- Takes up to p_wanted starts of a lane with p_per_second starts in a second. Callers take turns at the lane's row, so together
-- they never pass the rate: in any t seconds at most t * p_per_second + p_burst starts. A lane that starts for the first
-- time begins with an empty bucket. p_wanted below 0 gives starts back.
-- Returns how many it took, and the milliseconds until the next start.
create function take_starts(p_lane text, p_wanted integer, p_per_second double precision, p_burst double precision)
returns table (granted integer, next_ms double precision)
language plpgsql volatile as $$
declare
  v_starts double precision;
  v_at timestamptz;
  v_now timestamptz;
begin
  insert into lane_starts (lane, starts, at) values (p_lane, 0, clock_timestamp()) on conflict (lane) do nothing;
  select s.starts, s.at into v_starts, v_at from lane_starts s where s.lane = p_lane for update;
  -- Read with the lock held. A time in the future is of before the clock was set back.
  v_now := clock_timestamp();
  v_starts := least(p_burst, v_starts + greatest(0, extract(epoch from v_now - v_at)) * p_per_second);
  granted := greatest(least(p_wanted, floor(v_starts)::integer), least(p_wanted, 0));
  v_starts := least(p_burst, v_starts - granted);
  update lane_starts s set starts = v_starts, at = v_now where s.lane = p_lane;
  next_ms := greatest(0, 1 - v_starts) / p_per_second * 1000;
  return next;
end $$;
