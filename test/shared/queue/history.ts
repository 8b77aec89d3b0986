/** Applies random commands to Redis and to the model, and checks that both reply and hold the same. */
import { expect } from "vitest";
import { Lane } from "../../../shared/contracts/run.ts";
import type { Queue } from "../../../shared/queue/queue.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { jobs, type Command } from "./commands.ts";
import { limits, runOf, START_MS, type TestQueue } from "./fixture.ts";
import { Model } from "./model.ts";
import { makeQuotaReady } from "./rebuild-shard.ts";
import { countMarkers, expected, observe } from "./observe.ts";

/** A history of a queue and of its model. */
export class History {
  readonly #t: TestQueue;
  readonly #queue: Queue;
  readonly #model = new Model(START_MS);
  /** Lanes whose marker a worker has taken: it will claim, so no second marker is needed. */
  readonly #poppedLanes = new Set<Lane>();
  /** The epochs of all resets, the latest first. */
  readonly #epochs: string[] = [];

  constructor(t: TestQueue, queue: Queue) {
    this.#t = t;
    this.#queue = queue;
  }

  async begin(): Promise<void> {
    const first = [
      limits("acme", { maxConcurrentRuns: 2, maxQueuedRuns: 4, requestsPerSecond: 2, runsPerMinute: 5 }),
      limits("beta"),
    ];
    await this.#t.begin(...first);
    this.#model.pushLimits(first);
    this.#model.index = { quotaReady: true };
    this.#model.epoch = (await this.#queue.readIndex(0)).epoch;
    this.#epochs.unshift(this.#model.epoch);
  }

  /** Applies a command and checks everything. @throws on the first difference */
  async apply(command: Command): Promise<void> {
    await this.#applyUnchecked(command);
    expect(await observe(this.#t), JSON.stringify(command)).toEqual(expected(this.#model));
    await this.#checkMarkers();
  }

  async #applyUnchecked(command: Command): Promise<void> {
    const [queue, model] = [this.#queue, this.#model];
    switch (command.do) {
      case "admit": {
        const requests = jobs(command.numbers);
        const verdicts = await queue.admit(requests, command.maxDepth);
        return expect(verdicts).toEqual(model.admit(requests, command.maxDepth));
      }
      case "enqueue":
        return await this.#unlessCold(queue.enqueue(command.jobs), () => model.enqueue(command.jobs));
      case "claim": {
        const { owner, leaseMs, slots, lanes, shares, rules } = command;
        const room = { slots, lanes, rules, ...(shares && { shares }) };
        const request = { owner, leaseMs, ...room, ended: command.ended.map(runOf) };
        return await this.#unlessCold(queue.claim({ shard: 0, ...request }), (claim) => {
          model.claim(request, claim);
          this.#poppedLanes.clear();
        });
      }
      case "renew": {
        const request = {
          owner: command.owner,
          leaseMs: command.leaseMs,
          runs: command.numbers.map(runOf),
        };
        return await this.#unlessCold(queue.renew({ shard: 0, ...request }), (renewal) =>
          expect(renewal).toEqual(model.renew(request)),
        );
      }
      case "restoreLeases": {
        const { holder, owner, leaseMs, rebuild } = command;
        const epoch = rebuild === null ? "" : this.#epochOf(rebuild);
        const request = { jobs: jobs(command.numbers), holder, owner, leaseMs, epoch };
        const restored = queue.restoreLeases(request);
        const isAllowed = epoch === "" ? model.index !== null : epoch === model.epoch;
        if (!isAllowed) return await expect(restored).rejects.toThrow(ColdError);
        await restored;
        return model.restoreLeases(request);
      }
      case "release":
        return await this.#unlessCold(queue.release(command.jobs, command.owner), () =>
          model.release(command.jobs, command.owner),
        );
      case "finish":
        return await this.#unlessCold(queue.finish(jobs(command.numbers), command.owner), () =>
          model.finish(command.numbers.map(runOf), command.owner),
        );
      case "giveBack":
        return await this.#unlessCold(queue.giveBack(jobs(command.numbers)), () =>
          model.giveBack(command.numbers.map(runOf)),
        );
      case "pushLimits":
        expect(await queue.pushLimits([command.limits])).toEqual(model.pushLimits([command.limits]));
        return;
      case "advanceClock":
        model.nowMs += command.ms;
        this.#t.clock.nowMs = model.nowMs;
        return;
      case "popMarker":
        if ((await this.#t.redis.lpop(this.#t.key(`wake:${command.lane}`))) !== null)
          this.#poppedLanes.add(command.lane);
        return;
      case "rebuild":
        return await this.#rebuild(command.step, this.#epochOf(command.rebuild));
    }
  }

  /** The epoch of the latest reset (0), or of the one before (1). */
  #epochOf(rebuild: number): string {
    return this.#epochs[rebuild] ?? "none";
  }

  async #rebuild(step: (Command & { do: "rebuild" })["step"], epoch: string): Promise<void> {
    const [queue, model] = [this.#queue, this.#model];
    switch (step) {
      case "loseIndex":
        await this.#t.redis.del(this.#t.key("index"));
        return model.loseIndex();
      case "reset": {
        // Two resets in the same millisecond would have the same epoch.
        this.#t.clock.nowMs = model.nowMs += 1;
        const newEpoch = await queue.reset(0);
        if (model.index) return expect(newEpoch).toBeNull();
        this.#epochs.unshift(String(newEpoch));
        return model.reset(String(newEpoch));
      }
      case "beginIndex": {
        const begun = queue.beginIndex(0, epoch);
        if (!model.index && epoch !== model.epoch) return await expect(begun).rejects.toThrow(ColdError);
        await begun;
        model.index ??= { quotaReady: false };
        return;
      }
      case "invalidateCounts":
        return await this.#unlessCold(queue.invalidateCounts(0), () => {
          model.index = { quotaReady: false };
        });
      case "scan":
        if (!model.index) return;
        await makeQuotaReady(queue, 0, model.nowMs);
        model.index.quotaReady = true;
    }
  }

  async #unlessCold<Reply>(call: Promise<Reply>, then: (reply: Reply) => void): Promise<void> {
    if (!this.#model.index) return await expect(call).rejects.toThrow(ColdError);
    then(await call);
  }

  /** A lane with a tenant in its ring has one marker, unless a worker has just taken it or comes for the lane's next start. */
  async #checkMarkers(): Promise<void> {
    const markers = await countMarkers(this.#t);
    for (const lane of Lane.options) {
      const isInRing = this.#model
        .list("ready")
        .some((entry) => entry.lane === lane && this.#model.hasSlot(entry.tenant));
      const isArranged = this.#poppedLanes.has(lane) || this.#model.laneStarts.arranged.has(lane);
      const least = isInRing && !isArranged ? 1 : 0;
      expect(markers[lane], `markers of ${lane}`).toBeGreaterThanOrEqual(least);
      expect(markers[lane], `markers of ${lane}`).toBeLessThanOrEqual(1);
    }
  }
}
