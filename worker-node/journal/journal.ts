import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import type { LineFormat } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { log, messageOf } from "../../shared/log.ts";
import { eventCountOf, writtenBy } from "../../shared/store/journal/new-entry.ts";
import type { NewEntry } from "../../shared/store/journal/new-entry.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { judgeStatement } from "../clients/sqlstate.ts";
import type { Outcome } from "./entry-queue.ts";
import { RunLog } from "./run-log.ts";
import type { LoggedRun } from "./run-log.ts";

/** The most flushes at the same time. With one, Postgres and the executions would work by turns, and each be idle half of the time. */
const MAX_FLUSHES = 2;
/** The most entries of a flush, and the bytes after which it takes no further entry. */
const MAX_ENTRIES = 256;
const MAX_BYTES = 4 * 1024 * 1024;
const MAX_BACKOFF_MS = 2_000;
/** After so many timeouts of a batch, while Postgres answers small queries quickly, an entry of the batch is the cause. */
const MAX_TIMEOUTS = 2;
/** A small query takes less than this unless Postgres is overloaded. */
const SMALL_QUERY_MS = 1_000;

/** An entry in flight, and the log that it comes from. */
type InFlight = { log: RunLog; entry: NewEntry };

/**
 * Commits the entries of all runs of a worker, one statement a flush. Entries that arrive during a flush wait for the
 * next. A commit costs the same for one entry as for a hundred, so a step is cheaper the busier the worker is.
 */
export class Journal {
  readonly #owner: Incarnation;
  readonly #store: StateStore;
  readonly #publish: (entries: LiveEntry[]) => void;
  readonly #lines: LineFormat;
  readonly #ready = new Set<RunLog>();
  #flushing = 0;
  #lastFlushMs = 0;

  constructor(
    owner: Incarnation,
    store: StateStore,
    publish: (entries: LiveEntry[]) => void,
    lines: LineFormat = "complete",
  ) {
    this.#owner = owner;
    this.#store = store;
    this.#publish = publish;
    this.#lines = lines;
  }

  /** The log of a run that this worker executes. It aborts `stop` when the run is cancelled or another worker moves it. */
  open(run: LoggedRun, stop: AbortController): RunLog {
    return new RunLog(run, {
      owner: this.#owner,
      stop,
      schedule: (runLog) => this.#schedule(runLog),
      lastFlushMs: () => this.#lastFlushMs,
      lines: this.#lines,
    });
  }

  #schedule(runLog: RunLog): void {
    this.#ready.add(runLog);
    if (this.#flushing >= MAX_FLUSHES) return;
    this.#flushing += 1;
    // Other runs may append in the same turn of the event loop: one flush then takes all their entries.
    void setImmediate().then(() => this.#flushAll());
  }

  async #flushAll(): Promise<void> {
    for (let batch = this.#gather(); batch.length > 0; batch = this.#gather()) {
      const startedMs = performance.now();
      await this.#commit(batch);
      this.#lastFlushMs = performance.now() - startedMs;
      // The runs that this commit resumes append their next entries before the next batch is gathered.
      await setImmediate();
    }
    this.#flushing -= 1;
  }

  #gather(): InFlight[] {
    const batch: InFlight[] = [];
    let bytes = 0;
    for (const runLog of this.#ready) {
      if (batch.length >= MAX_ENTRIES || bytes >= MAX_BYTES) break;
      this.#ready.delete(runLog);
      const entry = runLog.take();
      if (!entry) continue;
      batch.push({ log: runLog, entry });
      for (const { events, output } of writtenBy(entry)) {
        bytes += events.length + output.length;
      }
    }
    return batch;
  }

  /**
   * Flushes until the outcome of each entry is known. A flush with an unknown outcome may be repeated: the fence commits each entry once.
   * @param wasTried the entries were part of an earlier flush, whose outcome is unknown
   */
  async #commit(batch: InFlight[], wasTried = false): Promise<void> {
    let timeouts = 0;
    for (let tries = 0; ; tries++) {
      const isRepeated = wasTried || tries > 0;
      try {
        await this.#flushBatch(batch, isRepeated);
        return;
      } catch (error) {
        const fault = judgeStatement(error);
        if (fault === "slow") timeouts += 1;
        if (fault === "data" || (timeouts >= MAX_TIMEOUTS && (await this.#isPostgresQuick(batch)))) {
          await this.#halve(batch, error, isRepeated);
          return;
        }
        if (tries === 0)
          log.warn("journal.flush_failed", { entries: batch.length, message: messageOf(error) });
        await sleep(Math.min(MAX_BACKOFF_MS, 20 * 2 ** tries));
      }
    }
  }

  async #flushBatch(batch: InFlight[], isRepeated: boolean): Promise<void> {
    const committed = await this.#store.flush(batch.map(({ entry }) => entry));
    const byRun = new Map(committed.map((row) => [row.run_id, row]));
    const missing = batch.map(({ entry }) => entry).filter(({ run_id }) => !byRun.has(run_id));
    const resolved = missing.length > 0 ? await resolveOutcomes(this.#store, missing, isRepeated) : null;
    const live = batch.flatMap((each) => {
      const { run_id } = each.entry;
      const row = byRun.get(run_id);
      const outcome: Outcome = row
        ? { is: "committed", signals: row.signals, cancel: row.cancel }
        : (resolved?.get(run_id) ?? { is: "fenced" });
      return this.#finish(each, outcome) ?? [];
    });
    // After the commit, never before: a viewer must not see an event that a crash can undo.
    if (live.length > 0) this.#publishLive(live);
  }

  /** Losing a live entry costs viewers a delay and nothing else, so a failure is no reason to flush again. */
  #publishLive(entries: LiveEntry[]): void {
    try {
      this.#publish(entries);
    } catch (error) {
      log.warn("journal.publish_failed", { entries: entries.length, message: messageOf(error) });
    }
  }

  #finish({ log: runLog }: InFlight, outcome: Outcome): LiveEntry | null {
    const live = runLog.onOutcome(outcome);
    if (runLog.hasMore()) this.#ready.add(runLog);
    return live;
  }

  /** Whether a small query is quick: then an entry of the batch, and not the load of Postgres, makes the flush slow. */
  async #isPostgresQuick(batch: InFlight[]): Promise<boolean> {
    const startedMs = performance.now();
    try {
      await this.#store.readRunSnapshots(batch.slice(0, 1).map(({ entry }) => entry.run_id));
      return performance.now() - startedMs < SMALL_QUERY_MS;
    } catch {
      return false;
    }
  }

  /** Finds the entry that Postgres will never take, by halving; all others are committed. */
  async #halve(batch: InFlight[], error: unknown, wasTried: boolean): Promise<void> {
    const [only] = batch;
    if (batch.length === 1 && only) {
      log.error("journal.entry_rejected", { ...only.log.about, message: messageOf(error) });
      this.#finish(only, { is: "rejected", message: "the step's result cannot be stored" });
      return;
    }
    const middle = Math.ceil(batch.length / 2);
    await this.#commit(batch.slice(0, middle), wasTried);
    await this.#commit(batch.slice(middle), wasTried);
  }
}

/**
 * The outcomes of entries that a flush did not commit, read in statements of their own. docs/protocol.md 5.4.
 * @param mayBeCommitted an earlier try of the same flush had an unknown outcome: it may have committed them
 */
async function resolveOutcomes(
  store: StateStore,
  entries: readonly NewEntry[],
  mayBeCommitted: boolean,
): Promise<Map<RunId, Outcome>> {
  const committed = new Set(mayBeCommitted ? await store.findCommitted(entries.map(entryKeyOf)) : []);
  const snapshots = await store.readRunSnapshots(entries.map(({ run_id }) => run_id));
  const byRun = new Map(snapshots.map((snapshot) => [snapshot.run_id, snapshot]));
  return new Map(
    entries.map((entry): [RunId, Outcome] => {
      const run = byRun.get(entry.run_id);
      const { signals = 0, cancel = false } = run ?? {};
      if (committed.has(entry.run_id)) return [entry.run_id, { is: "committed", signals, cancel }];
      const isOwner = run?.status === "running" && run.owner === entry.owner && run.attempt === entry.attempt;
      // A park without signals is that of one track, and no signal refuses it.
      if (isOwner && entry.kind === "park" && entry.signals !== null && signals !== entry.signals) {
        return [entry.run_id, { is: "refused", signals, cancel }];
      }
      return [entry.run_id, { is: "fenced" }];
    }),
  );
}

/** Where the journal has the entry, if it was committed. */
function entryKeyOf(entry: NewEntry) {
  const { run_id, known_seq, attempt } = entry;
  return { run_id, seq: known_seq + eventCountOf(entry), attempt };
}
