alter table waits
  -- The person who answered, as the client names them; `answered_by` is the key.
  add column person text,
  -- The only persons who may answer. Null: anyone may. An escalation adds names.
  add column approvers text[],
  -- How many of them must approve. Null: the first answer counts.
  add column approvals_needed integer,
  -- How often the question has gone to a further group.
  add column level integer not null default 0,
  -- What approvers have answered, in order. Each answer is a JSON text inside of its vote: jsonb itself refuses some of them.
  add column votes jsonb not null default '[]';
