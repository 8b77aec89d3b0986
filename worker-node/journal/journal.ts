import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { RunLog } from "./run-log.ts";
import type { InFlight, Outcome } from "./run-log.ts";
import { judgeStatement } from "../clients/sqlstate.ts";

/**
 * While Postgres commits one flush, the runs of the other are carried forward: with one, the two take turns and half
 * of each is idle.
 */
const MAX_FLUSHES = 2;
const MAX_ENTRIES = 256;
const MAX_BYTES = 4 * 1024 * 1024;
const MAX_BACKOFF_MS = 2_000;

/**
 * Commits what all runs of a worker produce, one statement a flush: what comes while a flush is under way gathers for
 * the next. A commit costs the same for one entry as for a hundred, so the busier a worker is the cheaper a step is.
 */
export class Journal {
  readonly #owner: Incarnation;
  readonly #store: StateStore;
  readonly #show: (entries: LiveEntry[]) => void;
  readonly #ready = new Set<RunLog>();
  #flushing = 0;
  #lastFlushMs = 0;

  constructor(owner: Incarnation, store: StateStore, show: (entries: LiveEntry[]) => void) {
    this.#owner = owner;
    this.#store = store;
    this.#show = show;
  }

  open(run: ConstructorParameters<typeof RunLog>[0]): RunLog {
    return new RunLog(
      run,
      (runLog) => this.#schedule(runLog),
      () => this.#lastFlushMs,
    );
  }

  #schedule(runLog: RunLog): void {
    this.#ready.add(runLog);
    if (this.#flushing >= MAX_FLUSHES) return;
    this.#flushing += 1;
    // After the other runs that were woken in this turn of the loop have said theirs.
    void setImmediate().then(() => this.#flushAll());
  }

  async #flushAll(): Promise<void> {
    for (let batch = this.#gather(); batch.length > 0; batch = this.#gather()) {
      const startedMs = performance.now();
      await this.#commit(batch);
      this.#lastFlushMs = performance.now() - startedMs;
      // So that all runs that this commit has woken say their next before it is gathered.
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
      const next = runLog.take(this.#owner);
      if (!next) continue;
      batch.push(next);
      bytes += next.entry.events.length + (next.entry.output?.length ?? 0);
    }
    return batch;
  }

  /** Flushes until the outcome of each entry is known. An unknown outcome is asked again: the fence makes that harmless. */
  async #commit(batch: InFlight[]): Promise<void> {
    for (let tries = 0; ; tries++) {
      try {
        await this.#settle(batch, tries > 0);
        return;
      } catch (error) {
        if (judgeStatement(error) === "data") {
          await this.#halve(batch, error);
          return;
        }
        if (tries === 0)
          log.warn("journal.flush_failed", { entries: batch.length, message: messageOf(error) });
        await sleep(Math.min(MAX_BACKOFF_MS, 20 * 2 ** tries));
      }
    }
  }

  async #settle(batch: InFlight[], repeated: boolean): Promise<void> {
    const committed = await this.#store.flush(batch.map(({ entry }) => entry));
    const byRun = new Map(committed.map((row) => [row.run_id, row]));
    const others = batch.filter(({ entry }) => !byRun.has(entry.run_id));
    const outcomes = others.length > 0 ? await this.#askAbout(others, repeated) : new Map<RunId, Outcome>();
    const live: LiveEntry[] = [];
    for (const each of batch) {
      const row = byRun.get(each.entry.run_id);
      const outcome: Outcome = row
        ? { is: "committed", signals: row.signals, cancel: row.cancel }
        : (outcomes.get(each.entry.run_id) ?? { is: "fenced" });
      if (outcome.is === "committed") live.push(this.#accept(each));
      this.#answer(each, outcome);
    }
    // After the commit, never before: nobody may see what a crash can undo.
    if (live.length > 0) this.#showLive(live);
  }

  /** What cannot be shown is no reason to flush again. */
  #showLive(entries: LiveEntry[]): void {
    try {
      this.#show(entries);
    } catch (error) {
      log.warn("journal.show_failed", { entries: entries.length, message: messageOf(error) });
    }
  }

  #accept({ log: runLog, entry }: InFlight): LiveEntry {
    runLog.knownSeq = entry.known_seq + entry.events_n;
    const { run_id, events, events_n, status } = entry;
    const last = status === "completed" || status === "failed" || status === "cancelled";
    return { run: run_id, seq: runLog.knownSeq, events, events_n, last };
  }

  #answer(each: InFlight, outcome: Outcome): void {
    each.log.inFlight = false;
    if (outcome.is === "fenced") each.log.close();
    else if (outcome.is !== "committed" && each.waiting) each.log.restore(each.notes);
    each.waiting?.resolve(outcome);
    if (each.log.hasMore()) this.#ready.add(each.log);
  }

  /** In statements of their own: was it committed after all, was a park refused, or is the run another's? */
  async #askAbout(entries: InFlight[], repeated: boolean): Promise<Map<RunId, Outcome>> {
    const runs = entries.map(({ entry }) => entry.run_id);
    const found = repeated
      ? await this.#store.findCommitted(
          entries.map(({ entry }) => ({
            run_id: entry.run_id,
            seq: entry.known_seq + entry.events_n,
            attempt: entry.attempt,
          })),
        )
      : [];
    const committed = new Set(found);
    const looks = new Map((await this.#store.readRunSnapshots(runs)).map((look) => [look.run_id, look]));
    return new Map(
      entries.map(({ entry }): [RunId, Outcome] => {
        const look = looks.get(entry.run_id);
        const { signals = entry.signals, cancel = false } = look ?? {};
        if (committed.has(entry.run_id)) return [entry.run_id, { is: "committed", signals, cancel }];
        const mine =
          look?.status === "running" && look.owner === entry.owner && look.attempt === entry.attempt;
        if (mine && entry.kind === "park" && signals !== entry.signals) {
          return [entry.run_id, { is: "refused", signals, cancel }];
        }
        return [entry.run_id, { is: "fenced" }];
      }),
    );
  }

  /** Finds the entry that Postgres will never take; all others are committed. */
  async #halve(batch: InFlight[], error: unknown): Promise<void> {
    const [only] = batch;
    if (batch.length === 1 && only) {
      log.error("journal.entry_rejected", { run: only.entry.run_id, message: messageOf(error) });
      this.#answer(only, { is: "rejected", message: "the step's result cannot be stored" });
      return;
    }
    const middle = Math.ceil(batch.length / 2);
    await this.#commit(batch.slice(0, middle));
    await this.#commit(batch.slice(middle));
  }
}
