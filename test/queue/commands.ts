/** One random act on the queue: what is done to Redis and to the model, and that both then say and hold the same. */
import fc from "fast-check";
import { expect } from "vitest";
import { Lane } from "../../shared/contracts/run.ts";
import { ColdError, type Job, type Limits, type Queue, type Waiting } from "../../shared/queue/queue.ts";
import { job, limits, runOf, START_MS, type TestQueue } from "./fixture.ts";
import { Model } from "./model.ts";
import { countMarkers, expected, observe } from "./observe.ts";

const TENANTS = ["acme", "beta", "gamma"] as const;

const number = fc.nat(8);
/** Few lanes and workers, so that they meet. */
const lane = fc.constantFrom<Lane>("interactive", "default", "default", "bulk");
const worker = fc.constantFrom("w1", "w1", "w1", "w2", "w3");
const leaseMs = fc.constantFrom(5000, 15_000);
const numbers = fc.array(number, { minLength: 1, maxLength: 4 });

const aJob = (n: number): Job => job(n, TENANTS[n % TENANTS.length] ?? "acme");
const jobs = (ns: number[]): Job[] => ns.map(aJob);
const waitingJobs = fc.array(
  fc
    .record({
      n: number,
      lane,
      delayMs: fc.constantFrom(0, 0, 0, 10, 5000, 40_000),
      status: fc.constantFrom<Waiting["status"]>("queued", "queued", "paused"),
      earlierMs: fc.constantFrom(0, 0, 60_000),
    })
    .map(({ n, earlierMs, ...rest }) => ({ ...aJob(n), ...rest, score: START_MS + n - earlierMs })),
  { minLength: 1, maxLength: 4 },
);

const someLimits: fc.Arbitrary<Limits> = fc
  .record({
    of: fc.constantFrom(...TENANTS),
    version: fc.integer({ min: 1, max: 6 }),
    maxConcurrentRuns: fc.constantFrom(0, 1, 2, 2, 9),
    maxQueuedRuns: fc.integer({ min: 0, max: 5 }),
    requestsPerSecond: fc.constantFrom(1, 2, 3, 50),
    weight: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ of, ...rest }) => limits(of, rest));

export const command = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant("admit"), numbers, maxDepth: fc.integer({ min: 2, max: 9 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("enqueue"), jobs: waitingJobs }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("claim"),
      owner: worker,
      leaseMs,
      slots: fc.integer({ min: 0, max: 6 }),
      caps: fc.record({ interactive: fc.nat(3), default: fc.nat(4), bulk: fc.nat(3) }),
      ended: fc.array(number, { maxLength: 2 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("renew"), owner: worker, leaseMs, numbers }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("hold"), caller: worker, owner: worker, leaseMs, numbers }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("release"), owner: worker, jobs: waitingJobs }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("finish"), owner: fc.oneof(worker, fc.constant("")), numbers }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("limits"), limits: someLimits }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("advance"),
      ms: fc.constantFrom(1, 9, 10, 400, 4999, 5000, 14_999, 15_000, 30_000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pop"), lane }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("rebuild"), step: fc.constantFrom("begin", "full", "reset") }) },
);
export type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

/** A history of a queue and of its model. */
export class History {
  readonly #t: TestQueue;
  readonly #queue: Queue;
  readonly #model = new Model(START_MS);
  /** Lanes whose marker a worker has taken, which it owes a claim. */
  readonly #taken = new Set<Lane>();

  constructor(t: TestQueue, queue: Queue) {
    this.#t = t;
    this.#queue = queue;
  }

  async begin(): Promise<void> {
    const first = [limits("acme", { maxConcurrentRuns: 2, maxQueuedRuns: 4, requestsPerSecond: 2 }), limits("beta")];
    await this.#t.begin(...first);
    this.#model.pushLimits(first);
    this.#model.index = { full: true };
  }

  /** Does it and checks everything. @throws on the first difference. */
  async act(command: Command): Promise<void> {
    await this.#do(command);
    expect(await observe(this.#t), JSON.stringify(command)).toEqual(expected(this.#model));
    await this.#checkMarkers();
  }

  async #do(command: Command): Promise<void> {
    const [queue, model] = [this.#queue, this.#model];
    switch (command.do) {
      case "admit": {
        const requests = jobs(command.numbers);
        const answer = await queue.admit(requests, command.maxDepth);
        return expect(answer).toEqual(model.admit(requests, command.maxDepth));
      }
      case "enqueue":
        return await this.#unlessCold(queue.enqueue(command.jobs), () => model.enqueue(command.jobs));
      case "claim": {
        const { owner, leaseMs, slots, caps } = command;
        const ended = command.ended.map(runOf);
        return await this.#unlessCold(queue.claim(0, owner, leaseMs, slots, caps, ended), (reply) => {
          model.claim(owner, leaseMs, slots, caps, ended, reply);
          this.#taken.clear();
        });
      }
      case "renew": {
        const runs = command.numbers.map(runOf);
        return await this.#unlessCold(queue.renew(0, command.owner, command.leaseMs, runs), (answer) =>
          expect(answer).toEqual(model.renew(command.owner, command.leaseMs, runs)),
        );
      }
      case "hold": {
        const { caller, owner, leaseMs } = command;
        await queue.hold(jobs(command.numbers), caller, owner, leaseMs);
        return model.hold(jobs(command.numbers), caller, owner, leaseMs);
      }
      case "release":
        return await this.#unlessCold(queue.release(command.jobs, command.owner), () =>
          model.release(command.jobs, command.owner),
        );
      case "finish":
        return await this.#unlessCold(queue.finish(jobs(command.numbers), command.owner), () =>
          model.finish(command.numbers.map(runOf), command.owner),
        );
      case "limits":
        await queue.pushLimits([command.limits]);
        return model.pushLimits([command.limits]);
      case "advance":
        model.nowMs += command.ms;
        this.#t.clock.nowMs = model.nowMs;
        return;
      case "pop":
        if ((await this.#t.redis.lpop(this.#t.key(`wake:${command.lane}`))) !== null) this.#taken.add(command.lane);
        return;
      case "rebuild":
        return await this.#rebuild(command.step);
    }
  }

  async #rebuild(step: string): Promise<void> {
    if (step === "reset") {
      await this.#queue.reset(0);
      this.#model.reset();
    } else if (step === "begin") {
      await this.#queue.beginIndex(0);
      this.#model.index ??= { full: false };
    } else if (this.#model.index) {
      await this.#queue.advanceIndex(0, { full: true });
      this.#model.index.full = true;
    }
  }

  async #unlessCold<Reply>(call: Promise<Reply>, then: (reply: Reply) => void): Promise<void> {
    if (!this.#model.index) return await expect(call).rejects.toThrow(ColdError);
    then(await call);
  }

  /** Whoever waits is woken: where a tenant is in the ring lies a marker, or somebody has just taken it. */
  async #checkMarkers(): Promise<void> {
    const markers = await countMarkers(this.#t);
    for (const lane of Lane.options) {
      const isInRing = this.#model.list("ready").some((e) => e.lane === lane && this.#model.hasSlot(e.tenant));
      const least = isInRing && !this.#taken.has(lane) ? 1 : 0;
      expect(markers[lane], `markers of ${lane}`).toBeGreaterThanOrEqual(least);
      expect(markers[lane], `markers of ${lane}`).toBeLessThanOrEqual(1);
    }
  }
}
