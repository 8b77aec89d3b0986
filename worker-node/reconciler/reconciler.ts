import { log, messageOf } from "../../shared/log.ts";
import { PassRunner } from "../../shared/tasks/pass-runner.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import { RECONCILER_LOCK_MS, RECONCILER_PERIOD_MS } from "../../shared/timing.ts";
import { DueScan } from "./due-scan.ts";
import { FileSweep } from "./file-sweep.ts";
import { JournalArchive } from "./journal-archive.ts";
import { indexShards } from "./rebuild-emptied-redis.ts";
import { Retention } from "./retention.ts";
import { pushChangedLimits } from "./push-limits.ts";
import { RingScan } from "./ring-scan.ts";
import { noRepairs } from "./reconciler-deps.ts";
import type { RepairDeps, Repairs } from "./reconciler-deps.ts";
import { repairSingletons } from "./singleton-repair.ts";
import { Reseal } from "./reseal.ts";
import { StrayScan } from "./stray-scan.ts";
import { Reclaim } from "./reclaim.ts";

/**
 * How long this worker leaves the queue to others after it could not reach Redis. Half a period: another worker's next pass finds the lock
 * free.
 */
const DEFER_MS = RECONCILER_PERIOD_MS / 2;

/**
 * Finds runs and jobs that nothing else will touch again, and gives them back their wake-up: docs/protocol.md 7. One worker of
 * the fleet at a time, by rows of `locks`. Two at once are harmless: every repair is a conditional statement or an
 * idempotent verb. The cost of a pass grows with what changed and what is broken, never with the backlog.
 *
 * There are two locks. The holder of `reconciler` makes the repairs that need Postgres alone; it keeps the lock, because it
 * has to observe without interruption. The holder of `queue` repairs the queue; it gives the lock up when it cannot reach
 * Redis, so that another worker can try.
 */
export class Reconciler {
  readonly repairs: Repairs = noRepairs();
  readonly #deps: RepairDeps;
  readonly #reclaim: Reclaim;
  readonly #retention: Retention;
  readonly #fileSweep: FileSweep;
  readonly #journalArchive: JournalArchive;
  readonly #reseal: Reseal;
  readonly #dueScan: DueScan;
  readonly #ringScan: RingScan;
  readonly #strayScan: StrayScan;
  readonly #passes = new PassRunner(() => this.#runPass());
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: Omit<RepairDeps, "repairs">) {
    this.#deps = { ...deps, repairs: this.repairs };
    this.#reclaim = new Reclaim(this.#deps);
    this.#retention = new Retention(this.#deps);
    this.#fileSweep = new FileSweep(this.#deps);
    this.#journalArchive = new JournalArchive(this.#deps);
    this.#reseal = new Reseal(this.#deps);
    this.#dueScan = new DueScan(this.#deps);
    this.#ringScan = new RingScan(this.#deps);
    this.#strayScan = new StrayScan(this.#deps);
    deps.links.onCold(() => this.passSoon());
  }

  /** Runs that the last complete due scan was the first to enqueue, a minute or more after they were due. */
  get lateRuns(): number {
    return this.#dueScan.lateRuns;
  }

  start(): void {
    this.#timer = setInterval(() => this.passSoon(), RECONCILER_PERIOD_MS);
    this.passSoon();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#passes.finish();
  }

  /** Starts a pass now, or right after the one under way. */
  passSoon(): void {
    this.#passes.request();
  }

  async #runPass(): Promise<void> {
    try {
      await this.#pass();
    } catch (error) {
      // Postgres is not in reach, or was not for a while.
      this.#reclaim.resetObservation();
      log.warn("reconciler.pass_failed", { message: messageOf(error) });
    }
  }

  async #pass(): Promise<void> {
    if (!(await this.#takeLock("reconciler", RECONCILER_LOCK_MS))) {
      this.#reclaim.resetObservation();
      this.#reseal.reset();
      await this.#repairQueue();
      return;
    }
    await this.#repair("runs", () => this.#reclaim.pass());
    await this.#repair("turns", () => this.#reclaim.wakeTurns());
    await this.#repair("budgets", () => this.#reclaim.wakeBudgetWaits());
    await this.#repair("singletons", () => repairSingletons(this.#deps));
    await this.#repair("queue", () => this.#repairQueue());
    // Last, because no run waits for them.
    if (await this.#repair("metrics", () => this.#deps.store.countRuns())) this.passSoon();
    await this.#repair("retention", () => this.#retention.pass());
    await this.#repair("files", () => this.#fileSweep.pass());
    if (await this.#repair("archive", () => this.#journalArchive.pass())) this.passSoon();
    if (await this.#repair("secrets", () => this.#reseal.pass())) this.passSoon();
  }

  /**
   * Makes one of the repairs of a pass. Those after it are made also when it fails: it may always fail, for a row that its statement cannot
   * handle. @returns its result; null when it has failed
   * @throws when the lock cannot be renewed after the failure: without Postgres all other repairs would fail too, each after its own time
   */
  async #repair<Result>(repair: string, make: () => Promise<Result>): Promise<Result | null> {
    try {
      return await make();
    } catch (error) {
      log.warn("reconciler.repair_failed", { repair, message: messageOf(error) });
      await this.#takeLock("reconciler", RECONCILER_LOCK_MS);
      return null;
    }
  }

  async #repairQueue(): Promise<void> {
    const { links } = this.#deps;
    if (links.areRepairsDeferred) return;
    let isRepaired = false;
    try {
      if (!(await this.#takeLock("queue", RECONCILER_LOCK_MS))) return;
      await this.#repairShards();
      isRepaired = true;
    } catch (error) {
      // A queue that replies `cold` is reachable: it lost its index during this pass, and the next pass rebuilds it.
      if (error instanceof ColdError) throw error;
      links.deferRepairs(DEFER_MS);
      await this.#takeLock("queue", 0).catch(() => {}); // without Postgres, the lock lapses
      throw error;
    } finally {
      if (!isRepaired) this.#dueScan.reset();
    }
  }

  async #repairShards(): Promise<void> {
    const { shards, rebuilt } = await indexShards(this.#deps);
    if (rebuilt) this.#dueScan.reset();
    await pushChangedLimits(this.#deps, shards);
    if (await this.#dueScan.pass(shards)) this.passSoon();
    await this.#ringScan.pass(shards);
    await this.#strayScan.pass(shards);
  }

  /** Takes a lock for `ms`, or renews it; 0 gives it up. @returns false when another worker has it */
  #takeLock(name: string, ms: number): Promise<boolean> {
    return this.#deps.store.takeLock(name, this.#deps.owner, ms);
  }
}
