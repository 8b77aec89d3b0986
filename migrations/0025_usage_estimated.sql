-- Whether the tokens and the cost of some of a run's calls are estimated. GET …/status looked for such a call in `usage` at each
-- read, which took an eighth of its time in Postgres; most runs have none.
alter table runs add column usage_estimated boolean not null default false;

update runs set usage_estimated = true
where run_id in (select run_id from usage where estimated);

-- Workers of the version before insert estimated usage too, so a trigger marks the run. It comes after the statement of the
-- flush that charges the call, and changes no column of the fence.
create function mark_usage_estimated() returns trigger language plpgsql as $$
begin
  update runs set usage_estimated = true where run_id = new.run_id and not usage_estimated;
  return null;
end
$$;
create trigger usage_estimated after insert on usage for each row when (new.estimated) execute function mark_usage_estimated();
