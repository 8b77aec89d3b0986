-- Chat: sessions, and their history in rows that are only added. docs/protocol.md 5.14.

create table chat_sessions (
  session_id       text primary key,
  tenant_id        text not null,
  agent_id         text not null,
  title            text not null default '',
  -- The last base that was given out for a turn, and the base of the newest accepted turn. A base is the end of a run's id.
  reserved_base    text not null default '',
  newest_base      text not null default '',
  created_at       timestamptz not null default now(),
  -- When the newest turn was accepted; null: the session has none, and the API does not show it.
  last_message_at  timestamptz,
  deleted_at       timestamptz
);
create index chat_sessions_listed on chat_sessions (tenant_id, newest_base desc, session_id desc)
  where deleted_at is null and newest_base <> '';
create index chat_sessions_of_all on chat_sessions (newest_base desc, session_id desc)
  where deleted_at is null and newest_base <> '';
-- For retention: sessions that never had a turn, and deleted ones.
create index chat_sessions_unused on chat_sessions (created_at) where newest_base = '';
create index chat_sessions_deleted on chat_sessions (deleted_at) where deleted_at is not null;

-- `base`: the turn that the row belongs to. The rows of a turn: what the user said (0), the summary that the turn made of
-- what was before it (1), the agent's answer (2).
create table chat_messages (
  session_id   text not null,
  base         text not null,
  n            smallint not null check (n between 0 and 2),
  content      text not null,
  -- Of a user's message: how many images it had. They are in the input of the turn's run.
  images       integer not null default 0,
  -- Of an answer: the calls of tools, a JSON text; and whether the turn ended before the answer did.
  tool_calls   text,
  cut          boolean not null default false,
  -- Of a summary: the last turn that it covers.
  covers       text,
  at           timestamptz not null default now(),
  primary key (session_id, base, n)
);
create index chat_messages_summaries on chat_messages (session_id, base) where n = 1;

-- The session that a run is a turn of; null for other runs.
alter table runs add column chat_session text;
-- Built by one read of `runs`, during which its writes wait: a migration is one transaction, which excludes `concurrently`.
-- Both hold turns only, so the flushes of other runs do not touch them.
-- squawk-ignore require-concurrent-index-creation
create index runs_turns on runs (chat_session, right(run_id, 13)) where chat_session is not null;
-- squawk-ignore require-concurrent-index-creation
create index runs_open_turns on runs (chat_session, right(run_id, 13)) where chat_session is not null and ended_at is null;

-- Takes turns of a session, in the order of their bases, which is the order of `p_runs`. Returns those that it takes, and
-- whether each waits for another one. It leaves out a turn whose base is not above that of the newest turn, and one that is
-- not to wait (`p_rejects`) and would. Returns nothing for a session that does not exist.
--
-- Volatile, with several queries: the lock makes turns of one session come one after the other until their transaction
-- ends, and the second query sees all that was committed before the first one got its lock.
create function take_turns(p_session text, p_runs text[], p_rejects boolean[])
returns table (run_id text, waits boolean)
language plpgsql volatile as $$
declare
  newest text;
  is_busy boolean;
begin
  select s.newest_base into newest from chat_sessions s
  where s.session_id = p_session and s.deleted_at is null for update;
  if not found then
    return;
  end if;
  is_busy := exists (select from runs r where r.chat_session = p_session and r.ended_at is null);
  for i in 1 .. cardinality(p_runs) loop
    continue when right(p_runs[i], 13) <= newest or (is_busy and p_rejects[i]);
    newest := right(p_runs[i], 13);
    run_id := p_runs[i];
    waits := is_busy;
    is_busy := true;
    return next;
  end loop;
  update chat_sessions s set newest_base = newest, last_message_at = now()
  where s.session_id = p_session and s.newest_base <> newest;
end $$;
