/** StateStore and Queue of one process: each call passes the network to the model of its store. */
import type { RunId } from "../../shared/contracts/ids.ts";
import { Queue } from "../../shared/queue/queue.ts";
import type { LeasesToRestore, RenewRequest } from "../../shared/queue/queue.ts";
import type { ClaimRequest } from "../../shared/queue/claim.ts";
import type { StateStore, VerbName } from "../../shared/store/state.ts";
import type { SimProcess } from "./clock.ts";
import type { Args, Statements } from "./postgres-model.ts";
import type { RedisModel } from "./redis-model.ts";
import type { Network, QueueVerb, Service } from "./network.ts";

export function storeOverNetwork(
  network: Network,
  process: SimProcess,
  service: Service,
  store: Statements,
): StateStore {
  const call = <Answer>(verb: VerbName, act: () => Answer): Promise<Answer> =>
    network.call(process, service, verb, act);
  return {
    claim: (...args: Args<"claim">) => call("claim", () => store.claim(...args)),
    claimDirectly: (...args) => call("claimDirectly", () => store.claimDirectly(...args)),
    readInput: (...args) => call("readInput", () => store.readInput(...args)),
    readStoredPage: (...args) => call("readStoredPage", () => store.readStoredPage(...args)),
    readRunSnapshots: (...args) => call("readRunSnapshots", () => store.readRunSnapshots(...args)),
    handBack: (...args) => call("handBack", () => store.handBack(...args)),
    flush: (...args) => call("flush", () => store.flush(...args)),
    findCommitted: (...args) => call("findCommitted", () => store.findCommitted(...args)),
    readWaits: (...args) => call("readWaits", () => store.readWaits(...args)),
    startChild: (...args) => call("startChild", () => store.startChild(...args)),
    cancelChild: (...args) => call("cancelChild", () => store.cancelChild(...args)),
    abandonTrack: (...args) => call("abandonTrack", () => store.abandonTrack(...args)),
    reserveInBudgets: (...args) => call("reserveInBudgets", () => store.reserveInBudgets(...args)),
    releaseReservation: (...args) => call("releaseReservation", () => store.releaseReservation(...args)),
    wakeBudgetWaits: (...args) => call("wakeBudgetWaits", () => store.wakeBudgetWaits(...args)),
    takeStarts: (...args) => call("takeStarts", () => store.takeStarts(...args)),
    readKeptAnswer: (...args) => call("readKeptAnswer", () => store.readKeptAnswer(...args)),
    keepAnswers: (...args) => call("keepAnswers", () => store.keepAnswers(...args)),
    readCutText: (...args) => call("readCutText", () => store.readCutText(...args)),
    readProviderKeys: (...args) => call("readProviderKeys", () => store.readProviderKeys(...args)),
    readProviderLimits: (...args) => call("readProviderLimits", () => store.readProviderLimits(...args)),
    readModelPrices: (...args) => call("readModelPrices", () => store.readModelPrices(...args)),
    beat: (...args) => call("beat", () => store.beat(...args)),
    readPinnedDefinition: (...args) =>
      call("readPinnedDefinition", () => store.readPinnedDefinition(...args)),
    readDefinition: (...args) => call("readDefinition", () => store.readDefinition(...args)),
    readMcpServer: (...args) => call("readMcpServer", () => store.readMcpServer(...args)),
    listSuccessors: (...args) => call("listSuccessors", () => store.listSuccessors(...args)),
    repairSingletons: (...args) => call("repairSingletons", () => store.repairSingletons(...args)),
    claimSchedules: (...args) => call("claimSchedules", () => store.claimSchedules(...args)),
    startTick: (...args) => call("startTick", () => store.startTick(...args)),
    saveFired: (...args) => call("saveFired", () => store.saveFired(...args)),
    readMcpVersions: (...args) => call("readMcpVersions", () => store.readMcpVersions(...args)),
    claimMcpListings: (...args) => call("claimMcpListings", () => store.claimMcpListings(...args)),
    saveMcpListing: (...args) => call("saveMcpListing", () => store.saveMcpListing(...args)),
    saveMcpTask: (...args) => call("saveMcpTask", () => store.saveMcpTask(...args)),
    forgetMcpTask: (...args) => call("forgetMcpTask", () => store.forgetMcpTask(...args)),
    claimEndedMcpTasks: (...args) => call("claimEndedMcpTasks", () => store.claimEndedMcpTasks(...args)),
    readChatHistory: (...args) => call("readChatHistory", () => store.readChatHistory(...args)),
    saveChatSummary: (...args) => call("saveChatSummary", () => store.saveChatSummary(...args)),
    readTurnText: (...args) => call("readTurnText", () => store.readTurnText(...args)),
    wakeTurns: (...args) => call("wakeTurns", () => store.wakeTurns(...args)),
    takeLock: (...args) => call("takeLock", () => store.takeLock(...args)),
    readScanBounds: (...args) => call("readScanBounds", () => store.readScanBounds(...args)),
    listDueRuns: (...args) => call("listDueRuns", () => store.listDueRuns(...args)),
    listRunningRuns: (...args) => call("listRunningRuns", () => store.listRunningRuns(...args)),
    listOwners: (...args) => call("listOwners", () => store.listOwners(...args)),
    reclaimFromSilent: (...args) => call("reclaimFromSilent", () => store.reclaimFromSilent(...args)),
    listOverdueRuns: (...args) => call("listOverdueRuns", () => store.listOverdueRuns(...args)),
    reclaimOverdue: (...args) => call("reclaimOverdue", () => store.reclaimOverdue(...args)),
    listChangedLimits: (...args) => call("listChangedLimits", () => store.listChangedLimits(...args)),
    raiseLimitVersions: (...args) => call("raiseLimitVersions", () => store.raiseLimitVersions(...args)),
    countWithoutWakeup: (...args) => call("countWithoutWakeup", () => store.countWithoutWakeup(...args)),
    claimDeliveries: (...args) => call("claimDeliveries", () => store.claimDeliveries(...args)),
    readEvents: (...args) => call("readEvents", () => store.readEvents(...args)),
    saveDeliveryTry: (...args) => call("saveDeliveryTry", () => store.saveDeliveryTry(...args)),
    releaseDeliveries: (...args) => call("releaseDeliveries", () => store.releaseDeliveries(...args)),
    queueMail: (...args) => call("queueMail", () => store.queueMail(...args)),
    readMailSender: (...args) => call("readMailSender", () => store.readMailSender(...args)),
    claimMails: (...args) => call("claimMails", () => store.claimMails(...args)),
    endMail: (...args) => call("endMail", () => store.endMail(...args)),
    saveMailTry: (...args) => call("saveMailTry", () => store.saveMailTry(...args)),
    countDueDeliveries: (...args) => call("countDueDeliveries", () => store.countDueDeliveries(...args)),
    countRuns: (...args) => call("countRuns", () => store.countRuns(...args)),
    saveCounters: (...args) => call("saveCounters", () => store.saveCounters(...args)),
    readRunFiles: (...args) => call("readRunFiles", () => store.readRunFiles(...args)),
    reserveFile: (...args) => call("reserveFile", () => store.reserveFile(...args)),
    readSweep: () => call("readSweep", () => store.readSweep()),
    saveSweep: (...args) => call("saveSweep", () => store.saveSweep(...args)),
    findOrphans: (...args) => call("findOrphans", () => store.findOrphans(...args)),
    takeExpiredObjects: (...args) => call("takeExpiredObjects", () => store.takeExpiredObjects(...args)),
    takeExpiredUploads: (...args) => call("takeExpiredUploads", () => store.takeExpiredUploads(...args)),
    forgetUploads: (...args) => call("forgetUploads", () => store.forgetUploads(...args)),
    queueEndedRuns: (...args) => call("queueEndedRuns", () => store.queueEndedRuns(...args)),
    claimJournals: (...args) => call("claimJournals", () => store.claimJournals(...args)),
    readJournals: (...args) => call("readJournals", () => store.readJournals(...args)),
    recordSegment: (...args) => call("recordSegment", () => store.recordSegment(...args)),
    postponeJournals: (...args) => call("postponeJournals", () => store.postponeJournals(...args)),
    readArchivePlace: (...args) => call("readArchivePlace", () => store.readArchivePlace(...args)),
    takeUnusedSegments: (...args) => call("takeUnusedSegments", () => store.takeUnusedSegments(...args)),
    forgetSegments: (...args) => call("forgetSegments", () => store.forgetSegments(...args)),
    readSealed: (...args) => call("readSealed", () => store.readSealed(...args)),
    replaceSealed: (...args) => call("replaceSealed", () => store.replaceSealed(...args)),
    saveKeyUses: (...args) => call("saveKeyUses", () => store.saveKeyUses(...args)),
    deleteExpired: (...args) => call("deleteExpired", () => store.deleteExpired(...args)),
  };
}

/** A Queue that calls the model instead of scripts. */
export class QueueOverNetwork extends Queue {
  readonly #call: <Answer>(verb: QueueVerb, act: () => Answer) => Promise<Answer>;
  readonly #redis: RedisModel;

  constructor(network: Network, process: SimProcess, service: Service, redis: RedisModel) {
    const noScript = async (): Promise<never> => {
      throw new Error("the simulation has no scripts: a verb of the queue is missing here");
    };
    super({ eval: noScript, evalsha: noScript }, 1);
    this.#redis = redis;
    this.#call = (verb, act) => network.call(process, service, verb, act);
  }

  override admit(...args: Parameters<Queue["admit"]>) {
    return this.#call("admit", () => this.#redis.admit(...args));
  }
  override async enqueue(jobs: Parameters<Queue["enqueue"]>[0]) {
    return jobs.length === 0 ? 0 : this.#call("enqueue", () => this.#redis.enqueue(jobs));
  }
  override claim(request: ClaimRequest) {
    return this.#call("claimJobs", () => this.#redis.claim(request));
  }
  override renew(request: RenewRequest) {
    return this.#call("renew", () => this.#redis.renew(request));
  }
  override async restoreLeases(request: LeasesToRestore) {
    if (request.jobs.length > 0) await this.#call("restoreLeases", () => this.#redis.restoreLeases(request));
  }
  override async release(...args: Parameters<Queue["release"]>) {
    if (args[0].length > 0) await this.#call("release", () => this.#redis.release(...args));
  }
  override async finish(jobs: Parameters<Queue["finish"]>[0], owner: string) {
    const runs = jobs.map(({ run }): RunId => run);
    if (runs.length > 0) await this.#call("finish", () => this.#redis.finish(runs, owner));
  }
  override async giveBack(jobs: Parameters<Queue["giveBack"]>[0]) {
    const runs = jobs.map(({ run }): RunId => run);
    if (runs.length > 0) await this.#call("giveBack", () => this.#redis.giveBack(runs));
  }
  override async pushLimits(limits: Parameters<Queue["pushLimits"]>[0]) {
    return limits.length > 0 ? await this.#call("pushLimits", () => this.#redis.pushLimits(limits)) : [];
  }
  override reset() {
    return this.#call("reset", () => this.#redis.reset());
  }
  override beginIndex(_shard: number, epoch: string) {
    return this.#call("beginIndex", () => this.#redis.beginIndex(epoch));
  }
  override invalidateCounts() {
    return this.#call("invalidateCounts", () => this.#redis.invalidateCounts());
  }
  override readIndex() {
    return this.#call("readIndex", () => this.#redis.readIndex());
  }
  override advanceScan(_shard: number, ...args: Parameters<RedisModel["advanceScan"]>) {
    return this.#call("advanceScan", () => this.#redis.advanceScan(...args));
  }
  override advanceLimits(_shard: number, ...args: Parameters<RedisModel["advanceLimits"]>) {
    return this.#call("advanceLimits", () => this.#redis.advanceLimits(...args));
  }
  override repairRing() {
    return this.#call("repairRing", () => this.#redis.repairRing());
  }
  override list() {
    return this.#call("list", () => ({ cursor: "0", jobs: this.#redis.list() }));
  }
}
