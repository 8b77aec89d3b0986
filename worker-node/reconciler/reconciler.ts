import { log, messageOf } from "../../shared/log.ts";
import { ColdError } from "../../shared/queue/shard-scripts.ts";
import { DueScan } from "./due-scan.ts";
import { indexShards } from "./rebuild.ts";
import { Retention } from "./retention.ts";
import { RingScan, pushChangedLimits } from "./limits.ts";
import type { RepairParts, Repairs } from "./parts.ts";
import { StrayScan } from "./stray-scan.ts";
import { Reclaim } from "./reclaim.ts";

const PERIOD_MS = 5_000;
const LOCK_MS = 15_000;

/**
 * Finds what nothing else will ever touch again, and gives it back its wake-up: docs/protocol.md 7. One at a time
 * in the fleet, by rows of `locks`; two at once would be harmless, as every repair is a conditional statement or an
 * idempotent verb. A pass costs what has changed and what is broken, never the backlog.
 *
 * There is a row for what needs Postgres alone, whose reconciler has to go on looking, and one for the queue, which
 * goes round: who cannot reach Redis leaves it to others.
 */
export class Reconciler {
  readonly repairs: Repairs = {
    enqueued: 0,
    rebuilt: 0,
    silent: 0,
    overdue: 0,
    limits: 0,
    forgotten: 0,
    stray: 0,
  };
  readonly #parts: RepairParts;
  readonly #takeBack: Reclaim;
  readonly #oldRows: Retention;
  readonly #dueWalk: DueScan;
  readonly #ringWalk: RingScan;
  readonly #strayWalk: StrayScan;
  #timer: NodeJS.Timeout | undefined;
  #passing: Promise<void> | null = null;
  #again = false;
  /** Until then the queue is left to others, as it was out of reach from here. */
  #leftUntilMs = -Infinity;

  /** Runs that the last walk found to have been forgotten for more than a minute. */
  get lateRuns(): number {
    return this.#dueWalk.late;
  }

  constructor(parts: Omit<RepairParts, "repairs">) {
    this.#parts = { ...parts, repairs: this.repairs };
    this.#takeBack = new Reclaim(this.#parts);
    this.#oldRows = new Retention(this.#parts);
    this.#dueWalk = new DueScan(this.#parts);
    this.#ringWalk = new RingScan(this.#parts);
    this.#strayWalk = new StrayScan(this.#parts);
  }

  start(): void {
    this.#timer = setInterval(() => this.passSoon(), PERIOD_MS);
    this.passSoon();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#again = false;
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
    const mine = await this.#takeBackRuns();
    await this.#repairQueue();
    // Last: nobody waits for it, and what fails here keeps nothing else from being repaired.
    if (mine) await this.#oldRows.pass();
  }

  /** What needs Postgres alone. False: another does it. */
  async #takeBackRuns(): Promise<boolean> {
    let mine = false;
    try {
      const taken = await this.#takeLock("reconciler", LOCK_MS);
      if (taken) await this.#takeBack.pass();
      mine = taken;
      return taken;
    } finally {
      if (!mine) this.#takeBack.forget();
    }
  }

  async #repairQueue(): Promise<void> {
    if (performance.now() < this.#leftUntilMs) return;
    let done = false;
    try {
      if (!(await this.#takeLock("queue", LOCK_MS))) return;
      await this.#showQueue();
      done = true;
    } catch (error) {
      // A queue that answers is no reason: it has lost its memory meanwhile.
      if (error instanceof ColdError) throw error;
      this.#leftUntilMs = performance.now() + PERIOD_MS / 2;
      await this.#takeLock("queue", 0).catch(() => {}); // then it lapses
      throw error;
    } finally {
      if (!done) this.#dueWalk.forget();
    }
  }

  async #showQueue(): Promise<void> {
    const { shards, rebuilt } = await indexShards(this.#parts);
    if (rebuilt) this.#dueWalk.forget();
    await pushChangedLimits(this.#parts, shards);
    if (await this.#dueWalk.pass(shards)) this.#again = true;
    await this.#ringWalk.pass(shards);
    await this.#strayWalk.pass(shards);
  }

  /** False: another has it. */
  #takeLock(name: string, ms: number): Promise<boolean> {
    return this.#parts.store.takeLock(name, this.#parts.owner, ms);
  }
}
