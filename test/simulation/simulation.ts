/** The whole system in one process: the product's workers on models of the stores, a network with faults, and a fake edge. */
import { Incarnation, TenantId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { Lane } from "../../shared/contracts/run.ts";
import { Definitions } from "../../worker-node/execution/definitions.ts";
import { childStarts, notifiedOf } from "../../worker-node/fleet/child-starts.ts";
import { withFlushListener } from "../../worker-node/fleet/flush-listener.ts";
import { Prices } from "../../worker-node/models/prices.ts";
import { TrackLimiter } from "../../worker-node/execution/track-limiter.ts";
import { Journal } from "../../worker-node/journal/journal.ts";
import { FleetMember } from "../../worker-node/fleet-member.ts";
import { Slots } from "../../worker-node/fleet/slots.ts";
import type { Markers } from "../../worker-node/fleet/slots.ts";
import { workerTiming } from "../../worker-node/fleet/worker-timing.ts";
import type { Reconciler } from "../../worker-node/reconciler/reconciler.ts";
import type { Worker } from "../../worker-node/fleet/worker.ts";
import { Counters } from "../../worker-node/ops/counters.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { Auditor } from "./auditor.ts";
import { randomNumbers } from "../services/random-numbers.ts";
import { Clock, SimProcess, START_MS } from "./clock.ts";
import { FakeEdge } from "./fake-edge.ts";
import { saveTenant } from "./edge-statements.ts";
import { QueueOverNetwork, storeOverNetwork } from "./stores-over-network.ts";
import { PostgresModel } from "./postgres-model.ts";
import { FakeModelsAndTools, library } from "./orchestrations.ts";
import { RedisModel } from "./redis-model.ts";
import { Network } from "./network.ts";
import type { Service } from "./network.ts";
import { untraced } from "../../worker-node/tracing/tracing.ts";

export const TENANTS = [TenantId.parse("acme"), TenantId.parse("beta")] as const;
/** From the death of a worker until it is started again, as a supervisor does. */
const RESTART_MS = 6_000;
/** The conditions of the simulation's orchestrations are all true, and none has code. */
const SANDBOX = {
  evaluate: async (): Promise<true> => true,
  transform: async (): Promise<never> => {
    throw new Error("no orchestration of the simulation has a transform");
  },
};

/** The parts that mutations.test.ts replaces by broken ones. */
export type Parts = {
  postgres: typeof PostgresModel;
  redis: typeof RedisModel;
  edge: typeof FakeEdge;
  journal: typeof Journal;
  /** Wraps the store of a worker. */
  store(store: StateStore, owner: Incarnation): StateStore;
};

export const realParts: Parts = {
  postgres: PostgresModel,
  redis: RedisModel,
  edge: FakeEdge,
  journal: Journal,
  store: (store) => store,
};

export type SimWorker = {
  process: SimProcess;
  owner: Incarnation;
  slot: number;
  worker: Worker;
  reconciler: Reconciler;
  member: FleetMember;
};

export type SimulationOptions = {
  seed: number;
  workers: number;
  slots: number;
  limit: number;
  queued: number;
  /** False: this history has faults after which limits may be exceeded for a while (docs/protocol.md 10). */
  limitsHold: boolean;
};

export class Simulation {
  readonly clock = new Clock();
  readonly random: () => number;
  readonly postgresService: Service = { name: "Postgres", isUp: true, patienceMs: 300 };
  readonly redisService: Service = { name: "Redis", isUp: true, patienceMs: 2_000 };
  readonly postgres: PostgresModel;
  readonly redis: RedisModel;
  readonly network: Network;
  readonly outside = new FakeModelsAndTools();
  readonly edge: FakeEdge;
  readonly auditor: Auditor;
  readonly workers: SimWorker[] = [];
  /** Each death of a worker, with the runs that it owned. */
  readonly deaths: { owner: Incarnation; atMs: number; runs: RunId[] }[] = [];
  readonly #parts: Parts;
  readonly #options: SimulationOptions;
  #starts = 0;
  /** Called with a line for everything that happens; null when no test reads the trace. */
  onEvent: ((line: string) => void) | null = null;
  readonly trace = (line: string): void =>
    this.onEvent?.(`${((this.clock.nowMs - START_MS) / 1_000).toFixed(3).padStart(8)}  ${line}`);

  constructor(options: SimulationOptions, parts: Parts = realParts) {
    this.#options = options;
    this.#parts = parts;
    this.random = randomNumbers(options.seed);
    this.postgres = new parts.postgres(() => this.clock.nowMs, library);
    this.redis = new parts.redis(this.clock, this.random);
    this.network = new Network(this.clock, this.random, (process, verb, { is, ms }) =>
      this.trace(`FAULT ${process.name} ${verb}: ${is} ${ms}`),
    );
    const limits = { running: options.limit, queued: options.queued };
    this.auditor = new Auditor(this.postgres, options.limitsHold ? limits : null);
    this.outside.onCall = (effectKey) => this.auditor.checkCall(effectKey);
    this.edge = new parts.edge(this, options.queued);
    for (const tenant of TENANTS) {
      saveTenant(this.postgres, tenant, {
        max_concurrent_runs: options.limit,
        max_queued_runs: options.queued,
      });
    }
  }

  /** Starts the workers. The clocks and the log are replaced before: a worker reads them at once. */
  start(): void {
    for (let slot = 0; slot < this.#options.workers; slot++) this.startWorker(slot);
  }

  get alive(): SimWorker[] {
    return this.workers.filter(({ process }) => !process.dead);
  }

  /** Starts a new process of the worker in this slot. */
  startWorker(slot: number): void {
    const owner = Incarnation.parse(`w${slot}#${(++this.#starts).toString(16).padStart(8, "0")}`);
    const process = new SimProcess(owner, this.clock);
    this.trace(`${owner} starts`);
    process.onDeath = () => {
      this.trace(`${owner} dies`);
      const rows = [...this.postgres.tables.runs.values()].filter((row) => row.owner === owner);
      this.deaths.push({ owner, atMs: this.clock.nowMs, runs: rows.map(({ run_id }) => run_id) });
    };
    process.deliver(() => this.workers.push(this.#assemble(process, owner, slot)));
  }

  #assemble(process: SimProcess, owner: Incarnation, slot: number): SimWorker {
    const watched = this.auditor.watch(this.postgres);
    const over = storeOverNetwork(this.network, process, this.postgresService, watched);
    const statements = this.#parts.store(over, owner);
    const queue = new QueueOverNetwork(this.network, process, this.redisService, this.redis);
    const slots = new Slots(this.#options.slots, Lane.options);
    /** The end of the waits under way. */
    let ending = new AbortController();
    const children = childStarts({
      queue,
      maxDepth: () => 1_000,
      isolation: true,
      hint: (other) => this.sendCancelHint(other),
    });
    const store = withFlushListener(statements, (committed) => children.notify(notifiedOf(committed)));
    const member = new FleetMember({
      owner,
      store,
      queue,
      slots,
      timing: workerTiming,
      masterKeys: null,
      isolation: true,
      report: () => ({
        worker_id: `w${slot}`,
        hostname: "sim",
        address: "http://sim",
        status: "online" as const,
        lanes: Lane.options,
        slots: slots.openTotal,
        active: slots.active,
        loop_lag_ms: 0,
      }),
      waitForWork: (_shard, markers, ms) => this.#waitForWork(process, markers, ms, ending.signal),
      endWaits: () => {
        ending.abort();
        ending = new AbortController();
      },
      execution: {
        owner,
        journal: new this.#parts.journal(owner, store, (entries) => this.auditor.checkPublish(entries)),
        definitions: new Definitions(store),
        models: this.outside.models,
        defaultModel: async () => "demo/fast",
        windowTokens: async () => 128_000,
        prices: new Prices(
          () => store.readModelPrices(),
          () => "demo/fast",
        ),
        tools: this.outside.tools,
        sandbox: { of: () => SANDBOX },
        artifacts: () => null,
        files: () => null,
        tracing: untraced,
        trackLimiter: new TrackLimiter(2),
        children,
        count: new Counters(),
        store,
      },
    });
    void member.start();
    const { worker, reconciler } = member;
    return { process, owner, slot, worker, reconciler, member };
  }

  #waitForWork(process: SimProcess, markers: Markers, ms: number, ending: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      process.after(ms, () => resolve(false));
      ending.addEventListener("abort", () => resolve(false));
      // One marker in ten is lost: the worker then waits for `ms`.
      const wake = (): void => void process.after(1, () => resolve(true));
      if (this.redisService.isUp && this.random() > 0.1) this.redis.waitForMarker(markers, wake);
    });
  }

  /** SIGTERM: the worker drains and ends. */
  drain({ process, worker, member }: SimWorker, graceMs: number): void {
    process.deliver(() => {
      void worker
        .drain(graceMs)
        .then(() => member.stop())
        .then(() => process.kill());
    });
  }

  /** Checks once a second which workers have died, and starts them again. */
  supervise(): void {
    for (let slot = 0; slot < this.#options.workers; slot++) {
      const processes = this.workers.filter((each) => each.slot === slot);
      if (processes.every(({ process }) => process.dead) && !this.#restarting.has(slot)) {
        this.#restarting.add(slot);
        this.clock.after(RESTART_MS, () => {
          this.#restarting.delete(slot);
          this.startWorker(slot);
        });
      }
    }
    this.clock.after(1_000, () => this.supervise());
  }
  readonly #restarting = new Set<number>();

  /** The hint on a worker's channel that one of its runs was cancelled. One hint in five is lost. */
  sendCancelHint(owner: string): void {
    const receiver = this.workers.find((each) => each.owner === owner);
    if (this.redisService.isUp && this.random() > 0.2)
      receiver?.process.deliver(() => void receiver.member.heartbeat.beat());
  }
}
