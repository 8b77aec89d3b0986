import { OrchestrationDocument } from "../../shared/contracts/definition/orchestration.ts";
import { callsOfTurns } from "../../shared/contracts/chat.ts";
import type { ChatReply } from "../../shared/contracts/chat.ts";
import type { RunId, SessionId, TenantId } from "../../shared/contracts/ids.ts";
import type { EndRecord } from "../../shared/contracts/journal-entry.ts";
import { RunInput, TERMINAL } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import { writeLine } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { endEvents } from "../../shared/journal/ending.ts";
import { fold, initialProgress, initialState } from "../../shared/journal/fold.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import { log, messageOf } from "../../shared/log.ts";
import { readTurnText } from "../../shared/store/chat/messages.ts";
import { enqueueDue } from "../../shared/queue/due-jobs.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { cancelRuns, readFamily, readCancellableRuns } from "../../shared/store/runs/mark-cancelled.ts";
import type { CancelEnd, FamilyMember, CancellableRun } from "../../shared/store/runs/mark-cancelled.ts";
import { listSuccessors } from "../../shared/store/runs/singletons.ts";
import { pagesOf } from "../../shared/store/journal/read-journal.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { publish } from "../clients/publish.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { SignalledRun } from "../../shared/store/runs/family.ts";
import type { Services } from "../services.ts";
import { wakeNextTurn } from "./wake-turn.ts";

/** Runs that change while they are cancelled are read and cancelled again, in this many passes at most. */
const MAX_PASSES = 5;
/** The most runs that one statement cancels. */
const BATCH = 50;
/**
 * The edge itself ends a waiting run whose input and journal have at most this many bytes. The state of a larger run is more than
 * the edge may keep in memory beside all other requests, so a worker ends that run.
 */
const LARGE_BYTES = 256 * 1024;

/**
 * `cancelled`: the run has ended. `cancellation_requested`: its worker ends it. `finished`: it had ended before.
 */
export type Cancellation = "cancelled" | "cancellation_requested" | "finished";

/**
 * What a cancel has committed and publishes afterwards. `ended`: the runs that ended, with their last entries. `owners`: the
 * workers that execute marked runs.
 */
type Committed = {
  ended: { run: FamilyMember; entry: LiveEntry }[];
  owners: Set<string>;
  /** The parents that waited for the runs that ended: they are due now. */
  due: SignalledRun[];
};

/**
 * Cancels a run and all runs that it started: docs/protocol.md 5.7. Null: the tenant (null: any) has no such run.
 *
 * Queued and paused runs end here, unless they are large. Running runs are marked, and their workers notified; when a worker
 * commits an end first, that end stays. Large runs that wait are marked and made due: the worker that claims one ends it.
 * @throws AppError `conflict` when the run changes faster than it can be read
 */
export async function cancel(
  { sql, queue, config, waitUntil }: Services,
  tenant: TenantId | null,
  run: RunId,
): Promise<Cancellation | null> {
  const committed: Committed = { ended: [], owners: new Set(), due: [] };
  try {
    return await cancelFamily(sql, tenant, run, committed);
  } finally {
    // After the commits, never before; also when a later pass failed.
    const jobs = committed.ended.map(({ run: { run_id, tenant_id } }) => ({
      run: run_id,
      tenant: tenant_id,
    }));
    const entries = committed.ended.map(({ entry }) => entry);
    const due = committed.due.map((each) => ({ ...jobOf(each), status: "queued" as const, delayMs: 0 }));
    const published = Promise.all([
      publish(config, entries, committed.owners),
      queue.finish(jobs, ""),
      queue.enqueue(due),
      enqueueSuccessors(sql, queue, jobs),
    ]);
    waitUntil(published.catch(logNotPublished));
    const sessions = new Set(committed.ended.flatMap(({ run: { chat_session } }) => chat_session ?? []));
    for (const session of sessions) waitUntil(wakeNextTurn({ sql, queue }, session));
  }
}

/** Enqueues the runs that waited for the singleton keys of these ended runs: they are due now. */
async function enqueueSuccessors(sql: Sql, queue: Queue, ended: readonly JobName[]): Promise<void> {
  if (ended.length === 0) return;
  const runs = ended.map(({ run }) => run);
  await enqueueDue(queue, await listSuccessors(sql, runs));
}

async function cancelFamily(
  sql: Sql,
  tenant: TenantId | null,
  named: RunId,
  committed: Committed,
): Promise<Cancellation | null> {
  const cancellations = new Map<RunId, Cancellation>();
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const family = await readFamily(sql, tenant, named);
    const [root] = family;
    if (!root) return null;
    if (TERMINAL.has(root.status) && !cancellations.has(named)) cancellations.set(named, "finished");
    const remaining = family.filter(
      ({ run_id, status }) => !TERMINAL.has(status) && !cancellations.has(run_id),
    );
    if (remaining.length === 0) break;
    for (let at = 0; at < remaining.length; at += BATCH) {
      await cancelBatch(sql, remaining.slice(at, at + BATCH), committed, cancellations);
    }
  }
  const cancellation = cancellations.get(named);
  if (cancellation) return cancellation;
  throw new AppError("conflict", "The run changed while it was being cancelled; try again.");
}

/**
 * Cancels these runs in one statement, and adds the results to `committed` and `cancellations`. A run that has changed since it was
 * read gets no entry in `cancellations`.
 */
async function cancelBatch(
  sql: Sql,
  runs: readonly FamilyMember[],
  committed: Committed,
  cancellations: Map<RunId, Cancellation>,
): Promise<void> {
  const running = runs.filter(({ status }) => status === "running").map(({ run_id }) => run_id);
  const waiting = runs.filter(({ status }) => status !== "running");
  const small = waiting.filter(({ bytes }) => bytes <= LARGE_BYTES).map(({ run_id }) => run_id);
  const large = waiting.filter(({ bytes }) => bytes > LARGE_BYTES).map(({ run_id }) => run_id);
  const ends = small.length > 0 ? await makeEnds(sql, small) : [];
  const byRun = new Map(runs.map((run) => [run.run_id, run]));
  const endOf = new Map(ends.map((end) => [end.run_id, end]));
  for (const { run_id, owner, event_seq, notified } of await cancelRuns(sql, running, ends, large)) {
    for (const relative of notified ?? []) {
      if (relative.owner !== null) committed.owners.add(relative.owner);
      else if (!byRun.has(relative.run_id)) committed.due.push(relative);
    }
    const [run, end] = [byRun.get(run_id), endOf.get(run_id)];
    cancellations.set(run_id, end ? "cancelled" : "cancellation_requested");
    if (owner !== null) committed.owners.add(owner);
    if (!run || !end) continue;
    const { events, events_n } = end;
    committed.ended.push({ run, entry: { run: run_id, seq: event_seq, events, events_n, last: true } });
  }
}

async function makeEnds(sql: Sql, runs: readonly RunId[]): Promise<CancelEnd[]> {
  // The rows are read before the journals: `known_seq` then refuses the end if an entry was committed in between.
  const rows = await readCancellableRuns(sql, runs);
  const ends: CancelEnd[] = [];
  // One after the other: the journals of all of them together would be too much to hold.
  for (const row of rows) ends.push(await makeEnd(sql, row));
  return ends;
}

async function makeEnd(sql: Sql, row: CancellableRun): Promise<CancelEnd> {
  const { run_id, event_seq } = row;
  const record: EndRecord = {
    status: "cancelled",
    checkpoint: null,
    response: "The run was cancelled.",
    error: null,
  };
  const start = startState(row);
  const progress =
    event_seq === 0 ? initialProgress(start) : await fold(start, pagesOf(sql, run_id, event_seq));
  const events = endEvents({ run_id, steps: [] }, record, progress);
  return {
    run_id,
    known_seq: event_seq,
    events: events.map((event) => writeLine(event, new Date(), row.correlation_id)).join("\n"),
    events_n: events.length,
    output: JSON.stringify(record),
    reply: row.chat_session && (await cutReply(sql, run_id, row.chat_session, progress)),
  };
}

/** The text and tool calls of a chat turn's answer until the cancel; null: there are none. */
async function cutReply(
  sql: Sql,
  run: RunId,
  session: SessionId,
  { turns }: Progress,
): Promise<ChatReply | null> {
  const content = await readTurnText(sql, run);
  const tool_calls = callsOfTurns(turns);
  return content === "" && tool_calls.length === 0 ? null : { session, content, tool_calls, cut: true };
}

const Schema = OrchestrationDocument.shape.state_schema;

/** The state that a run started with. A definition that cannot be parsed any more does not prevent the cancel. */
function startState({ input, state_schema: text }: CancellableRun) {
  const state_schema = Schema.safeParse(JSON.parse(text ?? "{}")).data ?? {};
  return initialState({ state_schema }, RunInput.parse(JSON.parse(input)));
}

/** Logs a failed publish. The cancels are committed: viewers, workers and the queue get them later. */
function logNotPublished(error: unknown): void {
  log.info("cancel.not_published", { error: messageOf(error) });
}
