/** Compares the tables before and after each statement of a worker, and records violations that no history may show. */
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import { stepOfPath } from "../../shared/journal/track.ts";
import { SILENT_AFTER_MS } from "../../shared/timing.ts";
import { orchestrationOf, stepBefore } from "./orchestrations.ts";
import { PostgresModel } from "./postgres-model.ts";
import type { Answer, Args, Statements } from "./postgres-model.ts";
import type { RunRow } from "./tables.ts";

export class Auditor {
  readonly #postgres: PostgresModel;
  readonly violations: string[] = [];
  readonly claims: { run: RunId; owner: string; atMs: number }[] = [];
  /** `run attempt` → the owner that it was claimed by. */
  readonly #ownerOf = new Map<string, string>();
  /** The limits of each tenant; null: the faults of this history may exceed them. */
  readonly limits: { running: number; queued: number } | null;

  constructor(postgres: PostgresModel, limits: { running: number; queued: number } | null) {
    this.#postgres = postgres;
    this.limits = limits;
  }

  /** The statements of one worker, each with its checks. */
  watch(store: PostgresModel): Statements {
    return {
      ...bound(store),
      claim: (owner, runs, silences) => {
        this.checkOffer(runs);
        const before = this.rowsOf(runs);
        const claimed = store.claim(owner, runs, silences);
        this.checkClaim(owner, before, claimed);
        return claimed;
      },
      claimDirectly: (owner, ...rest) => {
        const before = this.rowsOf(store.tables.runs.keys());
        const claimed = store.claimDirectly(owner, ...rest);
        this.checkClaim(owner, before, claimed);
        return claimed;
      },
      flush: (entries) => {
        const before = this.rowsOf(entries.map(({ run_id }) => run_id));
        const committed = store.flush(entries);
        this.checkFlush(before, entries, committed);
        return committed;
      },
    };
  }

  checkClaim(owner: string, before: ReadonlyMap<RunId, RunRow>, runs: readonly ClaimedRun[]): void {
    for (const { run_id, attempt, tenant_id } of runs) {
      this.claims.push({ run: run_id, owner, atMs: this.#postgres.now });
      const previous = before.get(run_id);
      const last = Math.max(
        this.#postgres.tables.workers.get(previous?.owner ?? "")?.beat_at ?? -Infinity,
        this.#postgres.startedAt,
      );
      if (previous?.status === "running" && last >= this.#postgres.now - SILENT_AFTER_MS) {
        this.#record(`${run_id} was taken over by ${owner} from ${previous.owner}, which is alive`);
      }
      const key = `${run_id} ${attempt}`;
      if (this.#ownerOf.has(key)) this.#record(`attempt ${attempt} of ${run_id} was claimed twice`);
      this.#ownerOf.set(key, owner);
      const limit = this.limits?.running ?? Infinity;
      const running = this.#postgres.countOf(tenant_id, "running");
      if (running > limit) this.#record(`${tenant_id} has ${running} running runs, its limit is ${limit}`);
    }
  }

  /**
   * A run was accepted. `others`: how many requests are admitted and not committed yet.
   *
   * A run that was claimed before and came back does not count. A run that is claimed in Redis is still queued in
   * Postgres for a moment.
   */
  checkAccept(tenant: TenantId, others: number): void {
    if (!this.limits) return;
    const allowed = this.limits.queued + this.limits.running + others;
    const isFresh = (row: RunRow): boolean =>
      row.tenant_id === tenant && row.status === "queued" && row.attempt === 0;
    const queued = [...this.#postgres.tables.runs.values()].filter(isFresh).length;
    if (queued > allowed) this.#record(`${tenant} has ${queued} queued runs, ${allowed} are allowed`);
  }

  checkFlush(
    before: ReadonlyMap<RunId, RunRow>,
    entries: Args<"flush">[0],
    committed: Answer<"flush">,
  ): void {
    for (const { run_id } of committed) {
      const previous = before.get(run_id);
      const entry = entries.find((each) => each.run_id === run_id);
      if (!previous || !entry) continue;
      const isOwner =
        previous.status === "running" && previous.owner === entry.owner && previous.attempt === entry.attempt;
      if (!isOwner) this.#record(`${entry.owner} wrote into ${run_id}, which was not its own`);
      if (previous.event_seq !== entry.known_seq)
        this.#record(`${run_id} got an entry that was not the next one`);
      if (entry.kind === "park" && entry.status !== null && previous.cancel_requested_at !== null) {
        this.#record(`${run_id} was parked although it had been cancelled`);
      }
      if (entry.kind === "end" && entry.dead_letter?.code === "poison" && previous.crash_count < 3) {
        this.#record(`${run_id} was failed as poison after ${previous.crash_count} crashes`);
      }
    }
  }

  /** An entry is published only after its commit: a crash cannot undo it. */
  checkPublish(entries: readonly LiveEntry[]): void {
    for (const { run, seq, events, events_n } of entries) {
      const committed = this.#postgres.tables
        .entriesOf(run)
        .filter((entry) => entry.seq > seq - events_n && entry.seq <= seq);
      if (committed.map((entry) => entry.events).join("\n") !== events) {
        this.#record(`${run} published the events up to ${seq} before they were committed`);
      }
    }
  }

  /** A call to the outside is made only after the result before it is committed: a crash cannot undo what the call follows from. */
  checkCall(effectKey: string): void {
    const [, run = "", path = ""] = /^([^:]*):([^:]*):/.exec(effectKey) ?? [];
    const row = [...this.#postgres.tables.runs.values()].find(({ run_id }) => run_id === run);
    if (row === undefined) return this.#record(`${effectKey} is a call of no run`);
    const step = stepOfPath(path);
    const before = stepBefore(orchestrationOf(row.orchestration_id), step);
    if (before === null) return;
    const due = `${path.slice(0, path.length - step.length)}${before}`;
    const isCommitted = this.#postgres.tables
      .entriesOf(row.run_id)
      .some(({ kind, step_path }) => kind === "step" && step_path === due);
    if (!isCommitted) this.#record(`${effectKey} was called before the result of ${due} was committed`);
  }

  checkOffer(runs: readonly RunId[]): void {
    for (const run of runs) {
      if (!this.#postgres.tables.runs.has(run))
        this.#record(`the queue offered ${run}, which does not exist`);
    }
  }

  rowsOf(runs: Iterable<RunId>): Map<RunId, RunRow> {
    return new Map(
      Array.from(runs).flatMap((run) => {
        const row = this.#postgres.tables.runs.get(run);
        return row ? [[run, { ...row }]] : [];
      }),
    );
  }

  #record(violation: string): void {
    this.violations.push(violation);
  }
}

/** The verbs as functions without `this`. */
function bound(store: Statements): Statements {
  return {
    claim: (...args) => store.claim(...args),
    claimDirectly: (...args) => store.claimDirectly(...args),
    readInput: (...args) => store.readInput(...args),
    readStoredPage: (...args) => store.readStoredPage(...args),
    readRunSnapshots: (...args) => store.readRunSnapshots(...args),
    handBack: (...args) => store.handBack(...args),
    flush: (...args) => store.flush(...args),
    findCommitted: (...args) => store.findCommitted(...args),
    readWaits: (...args) => store.readWaits(...args),
    startChild: (...args) => store.startChild(...args),
    cancelChild: (...args) => store.cancelChild(...args),
    abandonTrack: (...args) => store.abandonTrack(...args),
    reserveInBudgets: (...args) => store.reserveInBudgets(...args),
    releaseReservation: (...args) => store.releaseReservation(...args),
    wakeBudgetWaits: () => store.wakeBudgetWaits(),
    takeStarts: (...args) => store.takeStarts(...args),
    readKeptAnswer: (...args) => store.readKeptAnswer(...args),
    keepAnswers: (...args) => store.keepAnswers(...args),
    readCutText: (...args) => store.readCutText(...args),
    readProviderLimits: () => store.readProviderLimits(),
    readProviderKeys: (tenant) => store.readProviderKeys(tenant),
    readModelPrices: () => store.readModelPrices(),
    beat: (...args) => store.beat(...args),
    readPinnedDefinition: (...args) => store.readPinnedDefinition(...args),
    readDefinition: (...args) => store.readDefinition(...args),
    readMcpServer: (...args) => store.readMcpServer(...args),
    listSuccessors: (...args) => store.listSuccessors(...args),
    repairSingletons: (...args) => store.repairSingletons(...args),
    claimSchedules: (...args) => store.claimSchedules(...args),
    startTick: (...args) => store.startTick(...args),
    saveFired: (...args) => store.saveFired(...args),
    readMcpVersions: (...args) => store.readMcpVersions(...args),
    claimMcpListings: (...args) => store.claimMcpListings(...args),
    saveMcpListing: (...args) => store.saveMcpListing(...args),
    saveMcpTask: (...args) => store.saveMcpTask(...args),
    forgetMcpTask: (...args) => store.forgetMcpTask(...args),
    claimEndedMcpTasks: (...args) => store.claimEndedMcpTasks(...args),
    readChatHistory: (...args) => store.readChatHistory(...args),
    saveChatSummary: (...args) => store.saveChatSummary(...args),
    readTurnText: (...args) => store.readTurnText(...args),
    wakeTurns: (...args) => store.wakeTurns(...args),
    takeLock: (...args) => store.takeLock(...args),
    readScanBounds: (...args) => store.readScanBounds(...args),
    listDueRuns: (...args) => store.listDueRuns(...args),
    listRunningRuns: (...args) => store.listRunningRuns(...args),
    listOwners: () => store.listOwners(),
    reclaimFromSilent: (...args) => store.reclaimFromSilent(...args),
    listOverdueRuns: () => store.listOverdueRuns(),
    reclaimOverdue: (...args) => store.reclaimOverdue(...args),
    listChangedLimits: (...args) => store.listChangedLimits(...args),
    raiseLimitVersions: (...args) => store.raiseLimitVersions(...args),
    countWithoutWakeup: () => store.countWithoutWakeup(),
    claimDeliveries: (...args) => store.claimDeliveries(...args),
    readEvents: (...args) => store.readEvents(...args),
    saveDeliveryTry: (...args) => store.saveDeliveryTry(...args),
    releaseDeliveries: (...args) => store.releaseDeliveries(...args),
    queueMail: (...args) => store.queueMail(...args),
    readMailSender: (...args) => store.readMailSender(...args),
    claimMails: (...args) => store.claimMails(...args),
    endMail: (...args) => store.endMail(...args),
    saveMailTry: (...args) => store.saveMailTry(...args),
    countDueDeliveries: () => store.countDueDeliveries(),
    countRuns: () => store.countRuns(),
    saveCounters: (...args) => store.saveCounters(...args),
    readRunFiles: (...args) => store.readRunFiles(...args),
    reserveFile: (...args) => store.reserveFile(...args),
    readSweep: () => store.readSweep(),
    saveSweep: (...args) => store.saveSweep(...args),
    findOrphans: (...args) => store.findOrphans(...args),
    takeExpiredObjects: (...args) => store.takeExpiredObjects(...args),
    takeExpiredUploads: () => store.takeExpiredUploads(),
    forgetUploads: (...args) => store.forgetUploads(...args),
    queueEndedRuns: (...args) => store.queueEndedRuns(...args),
    claimJournals: (...args) => store.claimJournals(...args),
    readJournals: (...args) => store.readJournals(...args),
    recordSegment: (...args) => store.recordSegment(...args),
    postponeJournals: (...args) => store.postponeJournals(...args),
    readArchivePlace: (...args) => store.readArchivePlace(...args),
    takeUnusedSegments: (...args) => store.takeUnusedSegments(...args),
    forgetSegments: (...args) => store.forgetSegments(...args),
    readSealed: (...args) => store.readSealed(...args),
    replaceSealed: (...args) => store.replaceSealed(...args),
    saveKeyUses: (...args) => store.saveKeyUses(...args),
    deleteExpired: () => store.deleteExpired(),
  };
}
