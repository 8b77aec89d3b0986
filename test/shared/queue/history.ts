/** What random acts do to Redis and to the model, and that both then say and hold the same. */
import { expect } from "vitest";
import { Lane } from "../../../shared/contracts/run.ts";
import { ColdError, type Queue } from "../../../shared/queue/queue.ts";
import { jobs, type Command } from "./commands.ts";
import { limits, runOf, START_MS, type TestQueue } from "./fixture.ts";
import { Model } from "./model.ts";
import { openIndex } from "./open-index.ts";
import { countMarkers, expected, observe } from "./observe.ts";

/** A history of a queue and of its model. */
export class History {
  readonly #t: TestQueue;
  readonly #queue: Queue;
  readonly #model = new Model(START_MS);
  /** Lanes whose marker a worker has taken, which it owes a claim. */
  readonly #taken = new Set<Lane>();
  /** The last first. */
  readonly #epochs: string[] = [];

  constructor(t: TestQueue, queue: Queue) {
    this.#t = t;
    this.#queue = queue;
  }

  async begin(): Promise<void> {
    const first = [
      limits("acme", { maxConcurrentRuns: 2, maxQueuedRuns: 4, requestsPerSecond: 2 }),
      limits("beta"),
    ];
    await this.#t.begin(...first);
    this.#model.pushLimits(first);
    this.#model.index = { full: true };
    this.#model.epoch = (await this.#queue.readIndex(0)).epoch;
    this.#epochs.unshift(this.#model.epoch);
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
        const { caller, owner, leaseMs, rebuild } = command;
        const epoch = rebuild === null ? "" : (this.#epochs[rebuild] ?? "none");
        const held = queue.restoreLeases(jobs(command.numbers), caller, owner, leaseMs, epoch);
        const may = epoch === "" ? model.index !== null : epoch === model.epoch;
        if (!may) return await expect(held).rejects.toThrow(ColdError);
        await held;
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
        if ((await this.#t.redis.lpop(this.#t.key(`wake:${command.lane}`))) !== null)
          this.#taken.add(command.lane);
        return;
      case "rebuild":
        return await this.#rebuild(command.step, this.#epochs[command.rebuild] ?? "none");
    }
  }

  async #rebuild(step: string, mine: string): Promise<void> {
    if (step === "lose") {
      await this.#t.redis.del(this.#t.key("index"));
      this.#model.lose();
    } else if (step === "reset") {
      // No two at the same time, as they would have the same name.
      this.#t.clock.nowMs = this.#model.nowMs += 1;
      const epoch = await this.#queue.reset(0);
      if (this.#model.index) return expect(epoch).toBeNull();
      this.#epochs.unshift(String(epoch));
      this.#model.reset(String(epoch));
    } else if (step === "begin") {
      const begun = this.#queue.beginIndex(0, mine);
      if (!this.#model.index && mine !== this.#model.epoch)
        return await expect(begun).rejects.toThrow(ColdError);
      await begun;
      this.#model.index ??= { full: false };
    } else if (step === "doubt") {
      await this.#unlessCold(this.#queue.invalidateCounts(0), () => {
        this.#model.index = { full: false };
      });
    } else if (this.#model.index) {
      await openIndex(this.#queue, 0, this.#model.nowMs);
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
      const isInRing = this.#model
        .list("ready")
        .some((e) => e.lane === lane && this.#model.hasSlot(e.tenant));
      const least = isInRing && !this.#taken.has(lane) ? 1 : 0;
      expect(markers[lane], `markers of ${lane}`).toBeGreaterThanOrEqual(least);
      expect(markers[lane], `markers of ${lane}`).toBeLessThanOrEqual(1);
    }
  }
}
