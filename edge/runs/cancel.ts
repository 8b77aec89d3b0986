import { z } from "zod";
import { OrchestrationDocument } from "../../shared/contracts/definition/orchestration.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { EndRecord } from "../../shared/contracts/journal-entry.ts";
import { RunInput, TERMINAL } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import { writeLine } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { endEvents } from "../../shared/journal/ending.ts";
import { fold, initialState } from "../../shared/journal/fold.ts";
import { log, messageOf } from "../../shared/log.ts";
import { cancelRuns, readFamily, readCancellableRuns } from "../../shared/store/runs/mark-cancelled.ts";
import type { CancelEnd, FamilyMember, CancellableRun } from "../../shared/store/runs/mark-cancelled.ts";
import { readStored } from "../../shared/store/journal/read-journal.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { publish } from "../clients/publish.ts";
import type { Services } from "../services.ts";

/** Runs may change while they are cancelled. Then they are read and cancelled again, in this many passes at most. */
const MAX_PASSES = 5;
/** Runs whose journals are in memory at once. */
const BATCH = 50;

/**
 * `cancelled`: the run has ended. `cancellation_requested`: its worker ends it. `finished`: it had ended before.
 */
export type Cancellation = "cancelled" | "cancellation_requested" | "finished";

/** What a cancel publishes after its commits: the last entries of the runs that ended, and the owners of running runs. */
type Committed = { ended: { run: FamilyMember; entry: LiveEntry }[]; owners: Set<string> };

/**
 * Cancels a run and all runs that it started: docs/protocol.md 5.7. Null: the tenant (null: any) has no such run.
 *
 * Queued and paused runs end here. Running runs are marked, and their workers notified; when a worker commits an end
 * first, that end stays.
 * @throws AppError `conflict` when the run changes faster than it can be read
 */
export async function cancel(
  { sql, queue, config, waitUntil }: Services,
  tenant: TenantId | null,
  run: RunId,
): Promise<Cancellation | null> {
  const committed: Committed = { ended: [], owners: new Set() };
  try {
    return await cancelFamily(sql, tenant, run, committed);
  } finally {
    // After the commits, never before; also when a later pass failed.
    const jobs = committed.ended.map(({ run: { run_id, tenant_id } }) => ({
      run: run_id,
      tenant: tenant_id,
    }));
    const entries = committed.ended.map(({ entry }) => entry);
    const published = Promise.all([publish(config, entries, committed.owners), queue.finish(jobs, "")]);
    waitUntil(published.catch(logNotPublished));
  }
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

/** Cancels these runs in one statement. A run that has changed since it was read gets no entry in `cancellations`. */
async function cancelBatch(
  sql: Sql,
  runs: readonly FamilyMember[],
  committed: Committed,
  cancellations: Map<RunId, Cancellation>,
): Promise<void> {
  const running = runs.filter(({ status }) => status === "running").map(({ run_id }) => run_id);
  const waiting = runs.filter(({ status }) => status !== "running").map(({ run_id }) => run_id);
  const ends = waiting.length > 0 ? await makeEnds(sql, waiting) : [];
  const byRun = new Map(runs.map((run) => [run.run_id, run]));
  const endOf = new Map(ends.map((end) => [end.run_id, end]));
  for (const { run_id, owner, event_seq } of await cancelRuns(sql, running, ends)) {
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
    const progress = fold(startState(row), journals.get(row.run_id) ?? []);
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

/** The state that a run started with. A definition that cannot be parsed any more does not prevent the cancel. */
function startState({ input, definition }: CancellableRun) {
  const schema = Schema.safeParse(JSON.parse(definition ?? "{}"));
  return initialState(schema.data ?? { state_schema: {} }, RunInput.parse(JSON.parse(input)));
}

/** The cancels are committed: viewers, workers and the queue learn of them later. */
function logNotPublished(error: unknown): void {
  log.info("cancel.not_published", { error: messageOf(error) });
}
