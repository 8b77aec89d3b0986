/** What Postgres does to the relatives of a run (shared/store/runs/family.ts, start-child.ts), on the tables in memory. */
import type { RunId } from "../../shared/contracts/ids.ts";
import type { SignalledRun } from "../../shared/store/runs/family.ts";
import { MAX_CHILDREN, MAX_DEPTH } from "../../shared/store/runs/start-child.ts";
import type { NewChild, ParentFence, StartedChild } from "../../shared/store/runs/start-child.ts";
import { checkRow } from "./tables.ts";
import type { RunRow, Tables, WaitRow } from "./tables.ts";

type Clocked = { tables: Tables; now: number };

/** Signals a run that has not ended: a waiting one becomes due. */
function signal(row: RunRow, now: number): SignalledRun {
  row.signals += 1;
  if (row.status !== "running") Object.assign(row, { status: "queued", wake_at: now });
  checkRow(row);
  return signalledOf(row);
}

function signalledOf(row: RunRow): SignalledRun {
  const { run_id, tenant_id, owner, lane, priority, queued_at } = row;
  const status = row.status === "running" ? "running" : "queued";
  return { run_id, tenant_id, status, owner, lane, priority, queued_at_ms: queued_at };
}

/** A run has ended: its waiting parent gets the answer, and the children that it waits for are to be cancelled. */
export function notifyFamily({ tables, now }: Clocked, ended: RunRow, output: string | null): SignalledRun[] {
  const { run_id, parent_run_id: parent, parent_wait_id: wait_id = null } = ended;
  const open = wait_id === null || parent === undefined ? null : { parent, wait_id };
  return [
    ...(open === null ? [] : answer({ tables, now }, ended, open, output)),
    ...[...tables.runs.values()]
      .filter((row) => row.parent_run_id === run_id && row.parent_wait_id !== null && row.ended_at === null)
      .map((child) => cancel(child, now)),
  ];
}

function answer(
  { tables, now }: Clocked,
  child: RunRow,
  { parent, wait_id }: { parent: RunId; wait_id: string },
  output: string | null,
): SignalledRun[] {
  const known = tables.waitsOf(parent).find((wait) => wait.wait_id === wait_id);
  if (known && known.answered_by !== null) return [];
  const answered = { answer: output, answered_by: child.run_id, child_run_id: child.run_id };
  if (known) Object.assign(known, answered);
  else {
    const ended = { opened_at: now, deadline_at: null, level: 0, ...answered };
    tables.waits.push({ run_id: parent, wait_id, kind: "child", ...ended });
  }
  const row = tables.runs.get(parent);
  return row === undefined || row.ended_at !== null ? [] : [signal(row, now)];
}

function cancel(row: RunRow, now: number): SignalledRun {
  row.cancel_requested_at ??= now;
  return signal(row, now);
}

export function startChild(
  { tables, now }: Clocked,
  { run_id, owner, attempt }: ParentFence,
  child: NewChild,
  parts: { isDefined: boolean; hasRoom: boolean },
): StartedChild {
  const parent = tables.runs.get(run_id);
  if (parent?.owner !== owner || parent.attempt !== attempt || parent.cancel_requested_at !== null)
    return { is: "fenced" };
  const known = tables.runs.get(child.run_id);
  if (known) {
    const isFresh = known.status === "queued" && known.attempt === 0;
    return { is: "started", run: isFresh ? signalledOf(known) : null };
  }
  const depth = (parent.depth ?? 0) + 1;
  const siblings = [...tables.runs.values()].filter(({ parent_run_id }) => parent_run_id === run_id).length;
  if (!parts.isDefined) return { is: "unknown" };
  if (depth > MAX_DEPTH) return { is: "too_deep" };
  if (siblings >= MAX_CHILDREN) return { is: "too_many" };
  if (!parts.hasRoom) return { is: "full" };
  const row: RunRow = {
    ...parent,
    run_id: child.run_id,
    orchestration_id: child.orchestration_id,
    input: child.input,
    status: "queued",
    attempt: 0,
    owner: null,
    wake_at: now,
    deadline_at: null,
    event_seq: 0,
    signals: 0,
    crash_count: 0,
    queued_at: now,
    started_at: null,
    paused_at: null,
    paused_for: 0,
    tokens: 0,
    cost_micro_usd: 0,
    step_count: 0,
    journal_bytes: 0,
    error: null,
    parent_run_id: run_id,
    parent_wait_id: child.wait_id,
    depth,
    cost_limit_micro_usd: child.cost_limit_micro_usd,
    time_limit_ms: child.time_limit_ms,
  };
  tables.runs.set(child.run_id, row);
  checkRow(row);
  return { is: "started", run: signalledOf(row) };
}

export function cancelChild({ tables, now }: Clocked, parent: RunId, child: RunId): SignalledRun | null {
  const row = tables.runs.get(child);
  if (row === undefined || row.parent_run_id !== parent || row.ended_at !== null) return null;
  return cancel(row, now);
}

export function abandonTrack({ tables, now }: Clocked, run: RunId, prefix: string): SignalledRun[] {
  const isOpen = ({ kind, answered_by }: WaitRow): boolean => kind !== "child" && answered_by === null;
  for (const wait of tables.waitsOf(run)) {
    if (isOpen(wait) && wait.wait_id.startsWith(prefix)) wait.answered_by = "branch";
  }
  return [...tables.runs.values()]
    .filter(({ parent_run_id, ended_at }) => parent_run_id === run && ended_at === null)
    .filter(({ parent_wait_id }) => parent_wait_id?.startsWith(prefix))
    .map((child) => cancel(child, now));
}

/** Whether a claim of this run finds that it is to be cancelled: also when its parent has ended without seeing it. */
export function isCancelled({ tables }: Clocked, row: RunRow): boolean {
  const parent = row.parent_run_id === undefined ? undefined : tables.runs.get(row.parent_run_id);
  const isNew = row.event_seq === 0 && row.parent_wait_id !== null;
  const isOrphan = isNew && parent !== undefined && parent.ended_at !== null;
  return row.cancel_requested_at !== null || isOrphan;
}
