import type { Incarnation } from "../shared/contracts/ids.ts";
import { log, messageOf } from "../shared/log.ts";
import { ColdError, scoreOf } from "../shared/queue/queue.ts";
import type { IndexProgress, Queue } from "../shared/queue/queue.ts";
import type { WaitingRun, WalkPosition } from "../shared/store/reconcile.ts";
import type { StateStore } from "../shared/store/state.ts";
import { LEASE_MS } from "./lease.ts";

const PERIOD_MS = 5_000;
const LOCK_MS = 15_000;
const PASS_MS = 1_000;
const PAGE = 1_000;
/** The same value in two looks so far apart: then it stands still. */
const OBSERVE_MS = 30_000;
const LOCK = "reconciler";

/** How often each kind of repair was needed, since this process started. */
export type Repairs = Record<"enqueued" | "rebuilt" | "silent" | "overdue" | "limits", number>;

type Walk = { at: WalkPosition; until: string; untilMs: number; first: boolean };
type Observed = { value: string; sinceMs: number };

/**
 * Finds what nothing else will ever touch again, and gives it back its wake-up: PROTOCOL.md section 7. One at a time
 * in the fleet, by a row of `locks`; two at once would be harmless, as every repair is a conditional statement or an
 * idempotent verb. A pass costs what has changed and what is broken, never the backlog.
 */
export class Reconciler {
  readonly repairs: Repairs = { enqueued: 0, rebuilt: 0, silent: 0, overdue: 0, limits: 0 };
  readonly #owner: Incarnation;
  readonly #store: StateStore;
  readonly #queue: Queue;
  #walk: Walk | null = null;
  #owners = new Map<string, Observed>();
  #overdue = new Map<string, Observed>();
  #timer: NodeJS.Timeout | undefined;
  #passing: Promise<void> | null = null;
  #again = false;

  constructor(owner: Incarnation, store: StateStore, queue: Queue) {
    this.#owner = owner;
    this.#store = store;
    this.#queue = queue;
  }

  start(): void {
    this.#timer = setInterval(() => this.passSoon(), PERIOD_MS);
    this.passSoon();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#passing;
  }

  /** A pass now, or right after the one under way. */
  passSoon(): void {
    if (this.#passing) {
      this.#again = true;
      return;
    }
    this.#passing = this.#pass()
      .catch((error: unknown) => log.warn("reconciler.pass_failed", { message: messageOf(error) }))
      .finally(() => {
        this.#passing = null;
        if (!this.#again) return;
        this.#again = false;
        this.passSoon();
      });
  }

  async #pass(): Promise<void> {
    if (!(await this.#repairRuns())) return;
    const shards = await this.#warmShards();
    await this.#pushLimits(shards);
    await this.#showDue(shards);
  }

  /** What needs Postgres alone, so that it goes on while Redis is away. False: another is the reconciler now. */
  async #repairRuns(): Promise<boolean> {
    let mine = false;
    try {
      mine = await this.#store.takeLock(LOCK, this.#owner, LOCK_MS);
      if (mine) {
        await this.#takeFromSilent();
        await this.#takeOverdue();
      }
      return mine;
    } catch (error) {
      mine = false;
      throw error;
    } finally {
      if (!mine) {
        // What was observed counts only while Postgres was in reach throughout: an outage makes nobody dead.
        this.#walk = null;
        this.#owners.clear();
        this.#overdue.clear();
      }
    }
  }

  /** Rule 3: workers that have not been heard of. */
  async #takeFromSilent(): Promise<void> {
    const owners = await this.#store.owners();
    const still = this.#stillThere(
      this.#owners,
      owners.map(({ owner, beat_at }) => [owner, beat_at ?? "none"]),
    );
    for (const { owner, beat_at } of owners) {
      if (!still.has(owner)) continue;
      const runs = await this.#store.takeFromSilent(owner, beat_at);
      this.repairs.silent += runs.length;
      if (runs.length > 0) log.warn("reconciler.owner_silent", { owner, runs: runs.length });
      await this.#tell(runs);
    }
  }

  /** Rule 4: workers that beat but do not move. */
  async #takeOverdue(): Promise<void> {
    const overdue = await this.#store.overdueRuns();
    const still = this.#stillThere(
      this.#overdue,
      overdue.map((run) => [run.run_id, `${run.deadline_at} ${run.event_seq}`]),
    );
    const stuck = overdue.filter((run) => still.has(run.run_id));
    if (stuck.length === 0) return;
    const runs = await this.#store.takeOverdue(stuck);
    this.repairs.overdue += runs.length;
    for (const run of runs) log.warn("reconciler.run_overdue", { run: run.run_id });
    await this.#tell(runs);
  }

  /** Tells the queue at once of what has become ready. If it cannot hear, rule 1 shows it the same later. */
  async #tell(runs: readonly WaitingRun[]): Promise<void> {
    await this.#enqueue(runs).catch((error: unknown) => {
      log.warn("reconciler.enqueue_failed", { runs: runs.length, message: messageOf(error) });
    });
  }

  /** Which of `now` have had the same value for 30 s; remembers the others' for the next look. */
  #stillThere(seen: Map<string, Observed>, now: readonly (readonly [string, string])[]): Set<string> {
    const nowMs = performance.now();
    const still = new Set<string>();
    const next = new Map<string, Observed>();
    for (const [name, value] of now) {
      const before = seen.get(name);
      const observed = before?.value === value ? before : { value, sinceMs: nowMs };
      if (nowMs - observed.sinceMs >= OBSERVE_MS) still.add(name);
      next.set(name, observed);
    }
    seen.clear();
    for (const [name, observed] of next) seen.set(name, observed);
    return still;
  }

  /** Rule 2: shards without an index get one, after all that runs is held for its owner. */
  async #warmShards(): Promise<Map<number, IndexProgress>> {
    const shards = new Map<number, IndexProgress>();
    for (let shard = 0; shard < this.#queue.shards; shard++) {
      try {
        shards.set(shard, await this.#queue.readIndex(shard));
      } catch (error) {
        if (!(error instanceof ColdError)) throw error;
        await this.#rebuild(shard);
        shards.set(shard, await this.#queue.readIndex(shard));
      }
    }
    return shards;
  }

  async #rebuild(shard: number): Promise<void> {
    this.repairs.rebuilt += 1;
    this.#walk = null;
    log.warn("reconciler.rebuild_started", { shard });
    await this.#queue.reset(shard);
    for (let after = { owner: "", run_id: "" }; ; ) {
      const page = await this.#store.runningRuns(after, PAGE);
      const byOwner = Map.groupBy(page, ({ owner }) => owner);
      for (const [owner, runs] of byOwner) {
        await this.#queue.hold(runs.map(jobOf), owner, owner, LEASE_MS);
      }
      const last = page.at(-1);
      if (!last || page.length < PAGE) break;
      after = { owner: last.owner, run_id: last.run_id };
    }
    await this.#pushLimitsAfter(-Infinity);
    await this.#queue.beginIndex(shard);
  }

  /** Rule 5: limits that were changed, also before a Redis lost them. */
  async #pushLimits(shards: Map<number, IndexProgress>): Promise<void> {
    const upto = Math.min(...Array.from(shards.values(), ({ limitsUptoMs }) => limitsUptoMs));
    const newest = await this.#pushLimitsAfter(upto - 15_000);
    for (const shard of shards.keys()) {
      await this.#queue.advanceIndex(shard, { limitsUptoMs: Math.max(newest, upto) });
    }
  }

  async #pushLimitsAfter(sinceMs: number): Promise<number> {
    let newest = -Infinity;
    let after = { at: Number.isFinite(sinceMs) ? new Date(sinceMs).toISOString() : "-infinity", tenant: "" };
    for (;;) {
      const page = await this.#store.changedLimits(after, PAGE);
      await this.#queue.pushLimits(page);
      this.repairs.limits += page.length;
      const last = page.at(-1);
      if (!last) return newest;
      newest = last.updated_at_ms;
      if (page.length < PAGE) return newest;
      after = { at: last.updated_at, tenant: last.tenant };
    }
  }

  /**
   * Rule 1: shows the queue every run that has become due, a few times soon after it did. A walk goes on over as many
   * passes as it takes; the first one after a rebuild is the whole backlog, and opens `admit` at its end.
   */
  async #showDue(shards: Map<number, IndexProgress>): Promise<void> {
    const startedMs = performance.now();
    const walk = (this.#walk ??= await this.#startWalk(shards));
    while (performance.now() - startedMs < PASS_MS) {
      const page = await this.#store.dueRuns(walk.at, walk.until, PAGE);
      await this.#enqueue(page);
      this.repairs.enqueued += page.length;
      const last = page.at(-1);
      if (last) walk.at = { at: last.wake_at, run_id: last.run_id };
      if (page.length < PAGE) {
        for (const shard of shards.keys()) {
          await this.#queue.advanceIndex(shard, { uptoMs: walk.untilMs, full: true });
        }
        this.#walk = null;
        return;
      }
    }
    // The rest at once, not in five seconds: until it is through, nobody is admitted.
    if (walk.first) this.#again = true;
  }

  async #startWalk(shards: Map<number, IndexProgress>): Promise<Walk> {
    const upto = Math.min(...Array.from(shards.values(), ({ uptoMs }) => uptoMs));
    const bounds = await this.#store.walkBounds(Number.isFinite(upto) ? upto : null);
    return {
      at: { at: bounds.from, run_id: "" },
      until: bounds.until,
      untilMs: bounds.until_ms,
      first: !Number.isFinite(upto),
    };
  }

  async #enqueue(runs: readonly WaitingRun[]): Promise<void> {
    if (runs.length === 0) return;
    await this.#queue.enqueue(runs.map((run) => ({ ...jobOf(run), status: run.status, delayMs: 0 })));
  }
}

function jobOf(run: {
  run_id: WaitingRun["run_id"];
  tenant_id: WaitingRun["tenant_id"];
  lane: WaitingRun["lane"];
  queued_at_ms: number;
  priority: number;
}) {
  return {
    run: run.run_id,
    tenant: run.tenant_id,
    lane: run.lane,
    score: scoreOf(run.queued_at_ms, run.priority),
  };
}
