/** Looks at each statement that workers make, before and after, and notes what no history may ever show. */
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim.ts";
import { PostgresModel } from "./postgres.ts";
import type { Answer, Args, Statements } from "./postgres.ts";
import type { RunRow } from "./tables.ts";

const SILENT_MS = 12_000;

export class Auditor {
  readonly #truth: PostgresModel;
  readonly violations: string[] = [];
  readonly claims: { run: RunId; owner: string; atMs: number }[] = [];
  /** Who had each attempt of a run. */
  readonly #ownerOf = new Map<string, string>();
  /** What a tenant may have in this history; null: what its faults may let pass. */
  readonly limits: { running: number; queued: number } | null;

  constructor(truth: PostgresModel, limits: { running: number; queued: number } | null) {
    this.#truth = truth;
    this.limits = limits;
  }

  /** The statements of one worker, watched. */
  watch(store: PostgresModel): Statements {
    return {
      ...bound(store),
      claim: (owner, runs) => {
        this.asked(runs);
        const before = this.rowsOf(runs);
        const claimed = store.claim(owner, runs);
        this.claimed(owner, before, claimed);
        return claimed;
      },
      claimDirectly: (owner, ...rest) => {
        const before = this.rowsOf(store.tables.runs.keys());
        const claimed = store.claimDirectly(owner, ...rest);
        this.claimed(owner, before, claimed);
        return claimed;
      },
      flush: (entries) => {
        const before = this.rowsOf(entries.map(({ run_id }) => run_id));
        const committed = store.flush(entries);
        this.flushed(before, entries, committed);
        return committed;
      },
    };
  }

  claimed(owner: string, before: ReadonlyMap<RunId, RunRow>, runs: readonly ClaimedRun[]): void {
    for (const { run_id, attempt, tenant_id } of runs) {
      this.claims.push({ run: run_id, owner, atMs: this.#truth.now });
      const was = before.get(run_id);
      const last = Math.max(
        this.#truth.tables.workers.get(was?.owner ?? "")?.beat_at ?? -Infinity,
        this.#truth.startedAt,
      );
      if (was?.status === "running" && last >= this.#truth.now - SILENT_MS) {
        this.#note(`${run_id} was taken over by ${owner} from ${was.owner}, which lives`);
      }
      const key = `${run_id} ${attempt}`;
      if (this.#ownerOf.has(key)) this.#note(`attempt ${attempt} of ${run_id} was given out twice`);
      this.#ownerOf.set(key, owner);
      const limit = this.limits?.running ?? Infinity;
      const running = this.#truth.countOf(tenant_id, "running");
      if (running > limit) this.#note(`${tenant_id} has ${running} running runs, its limit is ${limit}`);
    }
  }

  /**
   * A run was let in. `others`: how many requests have their place and are not committed.
   *
   * What was claimed before and came back takes no place; what is claimed in Redis is still queued here for a moment.
   */
  accepted(tenant: TenantId, others: number): void {
    if (!this.limits) return;
    const most = this.limits.queued + this.limits.running + others;
    const isFresh = (row: RunRow): boolean =>
      row.tenant_id === tenant && row.status === "queued" && row.attempt === 0;
    const queued = [...this.#truth.tables.runs.values()].filter(isFresh).length;
    if (queued > most) this.#note(`${tenant} has ${queued} queued runs, ${most} are allowed`);
  }

  flushed(before: ReadonlyMap<RunId, RunRow>, entries: Args<"flush">[0], committed: Answer<"flush">): void {
    for (const { run_id } of committed) {
      const was = before.get(run_id);
      const entry = entries.find((each) => each.run_id === run_id);
      if (!was || !entry) continue;
      const isOwner = was.status === "running" && was.owner === entry.owner && was.attempt === entry.attempt;
      if (!isOwner) this.#note(`${entry.owner} wrote into ${run_id}, which was not its own`);
      if (was.event_seq !== entry.known_seq) this.#note(`${run_id} got an entry that was not the next`);
      if (entry.kind === "park" && was.cancel_requested_at !== null) {
        this.#note(`${run_id} was parked although it had been cancelled`);
      }
      if (entry.dead_letter?.code === "poison" && was.crash_count < 3) {
        this.#note(`${run_id} was taken for poison after ${was.crash_count} crashes`);
      }
    }
  }

  /** Nobody may see what a crash can undo. */
  published(entries: readonly LiveEntry[]): void {
    for (const { run, seq, events } of entries) {
      const stored = this.#truth.tables.entriesOf(run).find((entry) => entry.seq === seq);
      if (stored?.events !== events) this.#note(`${run} showed entry ${seq} before it was committed`);
    }
  }

  asked(runs: readonly RunId[]): void {
    for (const run of runs) {
      if (!this.#truth.tables.runs.has(run)) this.#note(`the queue offered ${run}, which does not exist`);
    }
  }

  rowsOf(runs: Iterable<RunId>): Map<RunId, RunRow> {
    return new Map(
      Array.from(runs).flatMap((run) => {
        const row = this.#truth.tables.runs.get(run);
        return row ? [[run, { ...row }]] : [];
      }),
    );
  }

  #note(violation: string): void {
    this.violations.push(violation);
  }
}

/** The verbs as functions of their own. */
function bound(store: Statements): Statements {
  return {
    claim: (...args) => store.claim(...args),
    claimDirectly: (...args) => store.claimDirectly(...args),
    lookUp: (...args) => store.lookUp(...args),
    handBack: (...args) => store.handBack(...args),
    flush: (...args) => store.flush(...args),
    findCommitted: (...args) => store.findCommitted(...args),
    readWaits: (...args) => store.readWaits(...args),
    beat: (...args) => store.beat(...args),
    orchestration: (...args) => store.orchestration(...args),
    definition: (...args) => store.definition(...args),
    takeLock: (...args) => store.takeLock(...args),
    scanBounds: (...args) => store.scanBounds(...args),
    dueRuns: (...args) => store.dueRuns(...args),
    runningRuns: (...args) => store.runningRuns(...args),
    listOwners: () => store.listOwners(),
    reclaimFromSilent: (...args) => store.reclaimFromSilent(...args),
    overdueRuns: () => store.overdueRuns(),
    reclaimOverdue: (...args) => store.reclaimOverdue(...args),
    changedLimits: (...args) => store.changedLimits(...args),
    countWithoutWakeup: () => store.countWithoutWakeup(),
    claimDeliveries: (...args) => store.claimDeliveries(...args),
    readEvents: (...args) => store.readEvents(...args),
    saveTry: (...args) => store.saveTry(...args),
    releaseDeliveries: (...args) => store.releaseDeliveries(...args),
    countDueDeliveries: () => store.countDueDeliveries(),
    deleteExpired: () => store.deleteExpired(),
  };
}
