-- Tasks that MCP servers have made of calls, from before a run waits for them until they end. docs/protocol.md 5.27.
create table mcp_tasks (
  run_id     text not null,
  task_id    text not null,
  -- The session of the server that has the task; null: any has it.
  session_id text,
  -- The tenant of the run.
  tenant_id  text not null,
  -- The row of the server.
  owner      text not null,
  server_id  text not null,
  -- A worker looks from this time on whether the run has ended; `tries` counts how often one has taken the task to cancel it.
  try_at     timestamptz not null default now(),
  tries      integer not null default 0,
  primary key (run_id, task_id)
);

create index mcp_tasks_to_look_at on mcp_tasks (try_at);
