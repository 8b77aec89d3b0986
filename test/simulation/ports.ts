/** The stores as one process sees them: StateStore and Queue, each call over the network. */
import type { RunId } from "../../shared/contracts/ids.ts";
import { Queue } from "../../shared/queue/queue.ts";
import type { ClaimRequest, LeasesToRestore, RenewRequest } from "../../shared/queue/queue.ts";
import type { StateStore, VerbName } from "../../shared/store/state.ts";
import type { SimProcess } from "./clock.ts";
import type { Args, Statements } from "./postgres.ts";
import type { RedisModel } from "./redis.ts";
import type { Network, Service } from "./wire.ts";

export function storeOver(
  network: Network,
  process: SimProcess,
  service: Service,
  store: Statements,
): StateStore {
  const ask = <Answer>(verb: VerbName, act: () => Answer): Promise<Answer> =>
    network.call(process, service, verb, act);
  return {
    claim: (...args: Args<"claim">) => ask("claim", () => store.claim(...args)),
    claimDirectly: (...args) => ask("claimDirectly", () => store.claimDirectly(...args)),
    lookUp: (...args) => ask("lookUp", () => store.lookUp(...args)),
    handBack: (...args) => ask("handBack", () => store.handBack(...args)),
    flush: (...args) => ask("flush", () => store.flush(...args)),
    findCommitted: (...args) => ask("findCommitted", () => store.findCommitted(...args)),
    readWaits: (...args) => ask("readWaits", () => store.readWaits(...args)),
    beat: (...args) => ask("beat", () => store.beat(...args)),
    orchestration: (...args) => ask("orchestration", () => store.orchestration(...args)),
    definition: (...args) => ask("definition", () => store.definition(...args)),
    takeLock: (...args) => ask("takeLock", () => store.takeLock(...args)),
    scanBounds: (...args) => ask("scanBounds", () => store.scanBounds(...args)),
    dueRuns: (...args) => ask("dueRuns", () => store.dueRuns(...args)),
    runningRuns: (...args) => ask("runningRuns", () => store.runningRuns(...args)),
    listOwners: (...args) => ask("listOwners", () => store.listOwners(...args)),
    reclaimFromSilent: (...args) => ask("reclaimFromSilent", () => store.reclaimFromSilent(...args)),
    overdueRuns: (...args) => ask("overdueRuns", () => store.overdueRuns(...args)),
    reclaimOverdue: (...args) => ask("reclaimOverdue", () => store.reclaimOverdue(...args)),
    changedLimits: (...args) => ask("changedLimits", () => store.changedLimits(...args)),
    countWithoutWakeup: (...args) => ask("countWithoutWakeup", () => store.countWithoutWakeup(...args)),
    claimDeliveries: (...args) => ask("claimDeliveries", () => store.claimDeliveries(...args)),
    readEvents: (...args) => ask("readEvents", () => store.readEvents(...args)),
    saveTry: (...args) => ask("saveTry", () => store.saveTry(...args)),
    releaseDeliveries: (...args) => ask("releaseDeliveries", () => store.releaseDeliveries(...args)),
    countDueDeliveries: (...args) => ask("countDueDeliveries", () => store.countDueDeliveries(...args)),
    deleteExpired: (...args) => ask("deleteExpired", () => store.deleteExpired(...args)),
  };
}

/** A Queue whose scripts are never run: each verb is the model's. */
export class QueueOver extends Queue {
  readonly #ask: <Answer>(verb: string, act: () => Answer) => Promise<Answer>;
  readonly #redis: RedisModel;

  constructor(network: Network, process: SimProcess, service: Service, redis: RedisModel) {
    const unasked = async (): Promise<never> => {
      throw new Error("the simulation has no scripts: a verb of the queue is missing here");
    };
    super({ eval: unasked, evalsha: unasked }, 1);
    this.#redis = redis;
    this.#ask = (verb, act) => network.call(process, service, verb, act);
  }

  override admit(...args: Parameters<Queue["admit"]>) {
    return this.#ask("admit", () => this.#redis.admit(...args));
  }
  override async enqueue(jobs: Parameters<Queue["enqueue"]>[0]) {
    return jobs.length === 0 ? 0 : this.#ask("enqueue", () => this.#redis.enqueue(jobs));
  }
  override claim(request: ClaimRequest) {
    return this.#ask("take", () => this.#redis.claim(request));
  }
  override renew(request: RenewRequest) {
    return this.#ask("renew", () => this.#redis.renew(request));
  }
  override async restoreLeases(request: LeasesToRestore) {
    if (request.jobs.length > 0) await this.#ask("restoreLeases", () => this.#redis.restoreLeases(request));
  }
  override async release(...args: Parameters<Queue["release"]>) {
    if (args[0].length > 0) await this.#ask("release", () => this.#redis.release(...args));
  }
  override async finish(jobs: Parameters<Queue["finish"]>[0], owner: string) {
    const runs = jobs.map(({ run }): RunId => run);
    if (runs.length > 0) await this.#ask("finish", () => this.#redis.finish(runs, owner));
  }
  override async pushLimits(limits: Parameters<Queue["pushLimits"]>[0]) {
    if (limits.length > 0) await this.#ask("pushLimits", () => this.#redis.pushLimits(limits));
  }
  override reset() {
    return this.#ask("reset", () => this.#redis.reset());
  }
  override beginIndex(_shard: number, epoch: string) {
    return this.#ask("beginIndex", () => this.#redis.beginIndex(epoch));
  }
  override invalidateCounts() {
    return this.#ask("invalidateCounts", () => this.#redis.invalidateCounts());
  }
  override readIndex() {
    return this.#ask("readIndex", () => this.#redis.readIndex());
  }
  override advanceScan(_shard: number, ...args: Parameters<RedisModel["advanceScan"]>) {
    return this.#ask("advanceScan", () => this.#redis.advanceScan(...args));
  }
  override advanceLimits(_shard: number, ...args: Parameters<RedisModel["advanceLimits"]>) {
    return this.#ask("advanceLimits", () => this.#redis.advanceLimits(...args));
  }
  override repairRing() {
    return this.#ask("repairRing", () => this.#redis.repairRing());
  }
  override list() {
    return this.#ask("list", () => ({ cursor: "0", jobs: this.#redis.list() }));
  }
}
