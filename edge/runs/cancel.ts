import { z } from "zod";
import { OrchestrationDocument } from "../../shared/contracts/definition/orchestration.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { EndRecord } from "../../shared/contracts/journal-entry.ts";
import { RunInput, TERMINAL } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import { writeLine } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { endEvents } from "../../shared/journal/ending.ts";
import { fold } from "../../shared/journal/fold.ts";
import { initialState } from "../../shared/journal/initial-state.ts";
import { cancelRuns, readFamily, readCancellableRuns } from "../../shared/store/runs/mark-cancelled.ts";
import type { CancelEnd, FamilyMember, CancellableRun } from "../../shared/store/runs/mark-cancelled.ts";
import { readStored } from "../../shared/store/journal/read-journal.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Services } from "../services.ts";
import { log } from "../log.ts";
import { publish } from "../clients/publish.ts";

/** Runs may change while they are cancelled; they are read again, so often at most. */
const LOOKS = 5;
/** Runs whose journals are in memory at once. */
const AT_ONCE = 50;

/** `cancelled`: it has ended. `cancellation_requested`: its worker ends it. `finished`: it had ended before. */
export type Cancellation = "cancelled" | "cancellation_requested" | "finished";

/** What is to be told of a cancel: the last entries of runs that ended, and the owners of those that run. */
type News = { ended: { run: FamilyMember; entry: LiveEntry }[]; owners: Set<string> };

/**
 * Cancels a run and all that it started: docs/protocol.md 5.7. Null: the tenant (null: any) has no such run.
 *
 * What is queued or paused ends here; what runs is marked, and its worker told. An end that a worker commits first stays.
 * @throws AppError `conflict` when the run changes faster than it can be read
 */
export async function cancel(
  { sql, queue, config, after }: Services,
  tenant: TenantId | null,
  run: RunId,
): Promise<Cancellation | null> {
  const news: News = { ended: [], owners: new Set() };
  try {
    return await cancelFamily(sql, tenant, run, news);
  } finally {
    // After the commit, never before; also when a later look failed.
    const jobs = news.ended.map(({ run: { run_id, tenant_id } }) => ({ run: run_id, tenant: tenant_id }));
    const entries = news.ended.map(({ entry }) => entry);
    after(Promise.all([publish(config, entries, news.owners), queue.finish(jobs, "")]).catch(logUntold));
  }
}

async function cancelFamily(
  sql: Sql,
  tenant: TenantId | null,
  named: RunId,
  news: News,
): Promise<Cancellation | null> {
  const reached = new Map<RunId, Cancellation>();
  for (let look = 0; look < LOOKS; look++) {
    const family = await readFamily(sql, tenant, named);
    const [root] = family;
    if (!root) return null;
    if (TERMINAL.has(root.status) && !reached.has(named)) reached.set(named, "finished");
    const open = family.filter(({ run_id, status }) => !TERMINAL.has(status) && !reached.has(run_id));
    if (open.length === 0) break;
    for (let at = 0; at < open.length; at += AT_ONCE) {
      await cancelSome(sql, open.slice(at, at + AT_ONCE), news, reached);
    }
  }
  const cancellation = reached.get(named);
  if (cancellation) return cancellation;
  throw new AppError("conflict", "The run changed while it was being cancelled; try again.");
}

/** One statement for these runs. Those that have changed since they were read are not in `reached` then. */
async function cancelSome(
  sql: Sql,
  runs: readonly FamilyMember[],
  news: News,
  reached: Map<RunId, Cancellation>,
): Promise<void> {
  const running = runs.filter(({ status }) => status === "running").map(({ run_id }) => run_id);
  const waiting = runs.filter(({ status }) => status !== "running").map(({ run_id }) => run_id);
  const ends = waiting.length > 0 ? await makeEnds(sql, waiting) : [];
  const byRun = new Map(runs.map((run) => [run.run_id, run]));
  const endOf = new Map(ends.map((end) => [end.run_id, end]));
  for (const { run_id, owner, event_seq } of await cancelRuns(sql, running, ends)) {
    const [run, end] = [byRun.get(run_id), endOf.get(run_id)];
    reached.set(run_id, end ? "cancelled" : "cancellation_requested");
    if (owner !== null) news.owners.add(owner);
    if (!run || !end) continue;
    const { events, events_n } = end;
    news.ended.push({ run, entry: { run: run_id, seq: event_seq, events, events_n, last: true } });
  }
}

async function makeEnds(sql: Sql, runs: readonly RunId[]): Promise<CancelEnd[]> {
  // The rows first: an entry that is committed after them is refused by the number that they say.
  const rows = await readCancellableRuns(sql, runs);
  const journals = await readStored(
    sql,
    rows.filter((row) => row.event_seq > 0).map((row) => row.run_id),
  );
  return rows.map((row) => {
    const record: EndRecord = {
      status: "cancelled",
      checkpoint: null,
      response: "The run was cancelled.",
      error: null,
    };
    const progress = fold(beginning(row), journals.get(row.run_id) ?? []);
    const events = endEvents({ run_id: row.run_id, steps: [] }, record, progress);
    return {
      run_id: row.run_id,
      known_seq: row.event_seq,
      events: events.map((event) => writeLine(event, new Date(), row.correlation_id)).join("\n"),
      events_n: events.length,
      output: JSON.stringify(record),
    };
  });
}

const Schema = z.object({ state_schema: OrchestrationDocument.shape.state_schema });

/** The state that a run began with. A definition that cannot be read any more keeps no run from being cancelled. */
function beginning({ input, definition }: CancellableRun) {
  const schema = Schema.safeParse(JSON.parse(definition ?? "{}"));
  return initialState(schema.data ?? { state_schema: {} }, RunInput.parse(JSON.parse(input)));
}

function logUntold(error: unknown): void {
  log.info("cancel.not_told", { error: error instanceof Error ? error.message : "unknown" });
}
