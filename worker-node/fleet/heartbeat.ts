import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import type { StoredSetting } from "../../shared/contracts/setting.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import type { Job } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Beat, BeatReply, OwnedRun } from "../../shared/store/workers/beats.ts";
import type { LiveLaneSettings } from "./live-lane-settings.ts";
import type { QueueLinks } from "./queue-links.ts";
import type { TrackedRuns } from "./tracked-runs.ts";
import type { WorkerTiming } from "./worker-timing.ts";

/** The part of a beat that describes this worker: all but its name, `redis_ok` and its durations. */
export type WorkerReport = Omit<Beat, "incarnation" | "redis_ok" | "silent_after_ms">;

export type HeartbeatDeps = {
  owner: Incarnation;
  store: StateStore;
  queue: Queue;
  links: QueueLinks;
  timing: WorkerTiming;
  tracked: TrackedRuns;
  /** Gets the settings of lanes from each reply. */
  laneSettings: Pick<LiveLaneSettings, "replace">;
  report: () => WorkerReport;
  /** Called with the settings of each reply. The beat ends when they hold here. It never rejects. */
  onSettings?: (settings: readonly StoredSetting[]) => Promise<void>;
  /** Called after each beat whose reply asks this worker to drain. */
  onDrain?: () => void;
};

/**
 * A worker's sign of life in Postgres, which decides which runs are its own. docs/protocol.md 5.3. The reply to each beat names
 * the runs that this worker owns: it stops executions of any other run, and hands back runs that it does not execute.
 */
export class Heartbeat {
  readonly #deps: HeartbeatDeps;
  #beating: Promise<void> | null = null;
  #confirmedMs = -Infinity;
  #silences = 0;
  #areSilencesCounted = false;
  #owned: ReadonlySet<RunId> = new Set();
  /** Runs of the last beat that were not executed here: the attempt, and since when. */
  #strays: ReadonlyMap<RunId, { attempt: number; sinceMs: number }> = new Map();
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: HeartbeatDeps) {
    this.#deps = deps;
  }

  /** When the last beat that succeeded was sent, by the monotonic clock. */
  get confirmedMs(): number {
    return this.#confirmedMs;
  }

  /** False when this worker may count as silent: a process that was stopped, or that cannot reach Postgres. */
  get isFresh(): boolean {
    return performance.now() - this.#confirmedMs <= this.#deps.timing.freshConfirmationMs;
  }

  /**
   * How often this worker was silent so far, as Postgres counts it. During a silence other workers may have claimed directly, so this
   * worker's view of the queue is out of date. Each claim names the number at which its shard was synchronized, and Postgres
   * compares it.
   */
  get silences(): number {
    return this.#silences;
  }

  /** Whether Postgres counts the silences. An edge of an earlier version between this worker and Postgres does not. */
  get areSilencesCounted(): boolean {
    return this.#areSilencesCounted;
  }

  start(): void {
    this.#timer = setInterval(() => void this.beat(), this.#deps.timing.beatMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /**
   * Reports, after the last beat, that this worker is offline: operators see that it ended in order, and no worker counts on its
   * link to the queue any more. Never throws: a worker that cannot report it is shown as silent, and after 90 s as offline.
   */
  async leave(): Promise<void> {
    await this.#beating;
    try {
      await this.#deps.store.beat({ ...this.#compose(), status: "offline", redis_ok: false });
    } catch (error) {
      log.warn("worker.beat_failed", { message: messageOf(error) });
    }
  }

  /** The last beat named the run as this worker's. */
  owns(run: RunId): boolean {
    return this.#owned.has(run);
  }

  /** Beats. A call while a beat is under way joins it. Never throws: the next beat tries again. */
  beat(): Promise<void> {
    this.#beating ??= this.#beatOnce().finally(() => {
      this.#beating = null;
    });
    return this.#beating;
  }

  /** Sends a beat after this call, even if one is under way: that one may have read before the change that the caller knows of. */
  async beatAgain(): Promise<void> {
    await this.#beating;
    await this.beat();
  }

  /**
   * Announces that the queue answers, before anything is claimed from it. When it resolves, no worker claims directly any
   * more, and every direct claim is committed: its runs can be read from Postgres and their leases restored in the queue.
   * @throws the store's error
   */
  async announceQueue(): Promise<void> {
    const { owner, store, links } = this.#deps;
    links.reportAnnounced();
    // A beat under way may have been sent with `redis_ok` false.
    await this.#beating;
    const { silences } = await store.beat(this.#compose());
    if (silences !== null) this.#silences = silences;
    // A direct claim takes this row first and then reads the beats: later ones see this beat.
    await store.takeLock("direct", owner, 0);
  }

  /**
   * Makes claims of this worker that are still on their way to Postgres claim nothing: Postgres counts a silence, and they name an earlier
   * number. Each shard is synchronized before its next claim.
   * @throws the store's error
   */
  async voidClaims(): Promise<void> {
    if (!this.#areSilencesCounted) return;
    // The reply of a beat under way may have an earlier number.
    await this.#beating;
    const { silences } = await this.#deps.store.beat({ ...this.#compose(), voids_claims: true });
    if (silences !== null) this.#silences = silences;
  }

  #compose(): Beat {
    const { owner, links, timing, report } = this.#deps;
    const silent_after_ms = timing.silentAfterMs;
    return { ...report(), incarnation: owner, redis_ok: links.redisOk, silent_after_ms };
  }

  async #beatOnce(): Promise<void> {
    const { store, links, tracked } = this.#deps;
    const sentMs = performance.now();
    let reply: BeatReply;
    try {
      reply = await store.beat(this.#compose());
    } catch (error) {
      if (links.isPostgresReachable) log.warn("worker.beat_failed", { message: messageOf(error) });
      links.reportPostgres(false);
      return;
    }
    links.reportPostgres(true);
    const { owned } = reply;
    if (reply.drain) this.#deps.onDrain?.();
    // The first beat comes before the first claim: no run is executed with the bucket of the variables where a setting names another.
    const applied = reply.settings ? this.#deps.onSettings?.(reply.settings) : undefined;
    if (reply.lanes) this.#deps.laneSettings.replace(reply.lanes);
    this.#areSilencesCounted = reply.silences !== null;
    const isFirst = this.#confirmedMs === -Infinity;
    const wasSilent = !isFirst && sentMs - this.#confirmedMs > this.#deps.timing.freshConfirmationMs;
    this.#silences = reply.silences ?? this.#silences + (wasSilent ? 1 : 0);
    this.#confirmedMs = sentMs;
    this.#owned = new Set(owned.map(({ run_id }) => run_id));
    const gone = this.#compareTracked(owned, sentMs);
    // The beat does not wait for Redis.
    void this.#releaseGone(gone);
    const strays = owned.filter(({ run_id }) => !tracked.get(run_id));
    await Promise.all([this.#handBackStrays(strays, sentMs), applied]);
  }

  /**
   * Compares each tracked run with the reply of a beat, and stops or notifies its execution.
   * @returns the jobs of runs that are not this worker's any more
   */
  #compareTracked(owned: readonly OwnedRun[], sentMs: number): Job[] {
    const { tracked } = this.#deps;
    const byRun = new Map(owned.map((run) => [run.run_id, run]));
    const gone: Job[] = [];
    for (const run of tracked) {
      // A run that was claimed after the beat was sent is rightly missing from the reply.
      if (run.sinceMs >= sentMs) continue;
      const named = byRun.get(run.job.run);
      if (!named) gone.push(run.job);
      if (named?.attempt !== run.attempt) tracked.supersede(run);
      else if (named.signals !== run.signals || named.cancel) run.onSignal(named);
      if (named) run.onBudget(named.has_budget);
    }
    return gone;
  }

  /** Ends the leases of runs that are not this worker's any more: until they lapse they would keep other workers from these runs. */
  async #releaseGone(jobs: readonly Job[]): Promise<void> {
    if (jobs.length === 0) return;
    // The next worker that claims them reads their status in Postgres.
    const ready = jobs.map((job) => ({ ...job, status: "queued" as const, delayMs: 0 }));
    await this.#deps.queue.release(ready, this.#deps.owner).catch((error: unknown) => {
      log.warn("lease.release_failed", { runs: jobs.length, message: messageOf(error) });
    });
  }

  /**
   * Hands back runs that each beat of the last `strayMs` named under the same attempt and that are not executed: the reply
   * of their claim was lost.
   */
  async #handBackStrays(strays: readonly OwnedRun[], sentMs: number): Promise<void> {
    const { owner, store, timing } = this.#deps;
    const sinceOf = ({ run_id, attempt }: OwnedRun): number => {
      const known = this.#strays.get(run_id);
      return known?.attempt === attempt ? known.sinceMs : sentMs;
    };
    const lasting = strays.filter((run) => sentMs - sinceOf(run) >= timing.strayMs);
    this.#strays = new Map(
      strays.map((run) => [run.run_id, { attempt: run.attempt, sinceMs: sinceOf(run) }]),
    );
    if (lasting.length === 0) return;
    try {
      const returned = new Set(await store.handBack(owner, lasting));
      for (const run of lasting.filter(({ run_id }) => returned.has(run_id))) {
        log.warn("run.handed_back", { ...aboutRun(run), reason: "the reply of its claim was lost" });
      }
    } catch (error) {
      for (const run of lasting)
        log.warn("run.hand_back_failed", { ...aboutRun(run), message: messageOf(error) });
    }
  }
}
