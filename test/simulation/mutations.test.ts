/**
 * The simulation notices when a rule of PROTOCOL.md is dropped: each mutation stands in the place of a part, and must be
 * found within some hundred histories, for its own reason.
 */
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import type { NewRun } from "../../shared/contracts/run.ts";
import { scoreOf } from "../../shared/queue/queue.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { NewEntry } from "../../shared/store/journal.ts";
import type { OwnedRun } from "../../shared/store/workers.ts";
import type { Process } from "./clock.ts";
import { Front } from "./front.ts";
import { history, live } from "./history.ts";
import { Postgres } from "./postgres.ts";
import { Redis } from "./redis.ts";
import type { RunRow } from "./tables.ts";
import { soundParts } from "./world.ts";
import type { Parts } from "./world.ts";

vi.mock("node:timers/promises", () => import("./timers-promises.ts"));
vi.mock("../../shared/log.ts", () => import("./log.ts"));

class OwnerNotInFence extends Postgres {
  override isFenceOf(row: RunRow, { attempt, known_seq }: NewEntry): boolean {
    return row.attempt === attempt && row.event_seq === known_seq;
  }
}

class EventSeqNotInFence extends Postgres {
  override isFenceOf(row: RunRow, { attempt, owner }: NewEntry): boolean {
    return row.attempt === attempt && row.owner === owner;
  }
}

class SignalsNotInPark extends Postgres {
  override mayPark(): boolean {
    return true;
  }
}

class NoSilenceNeeded extends Postgres {
  override isSilent(): boolean {
    return true;
  }
}

class NoOverlap extends Postgres {
  override overlapMs(): number {
    return 0;
  }
}

class UptoInPostgres extends Redis {
  #uptoMs = -Infinity;
  override advanceIndex(progress: Parameters<Redis["advanceIndex"]>[0]): void {
    super.advanceIndex(progress);
    this.#uptoMs = Math.max(this.#uptoMs, progress.uptoMs ?? -Infinity);
  }
  override readIndex(): ReturnType<Redis["readIndex"]> {
    return { ...super.readIndex(), uptoMs: this.#uptoMs };
  }
}

class SizesNotCompared extends Redis {
  override checkSizes(): void {}
}

class EnqueuesFirst extends Front {
  override async accept(process: Process, queue: Queue, run: NewRun): Promise<void> {
    const { run_id, tenant_id, lane } = run;
    const job = { run: run_id, tenant: tenant_id, lane, score: scoreOf(Date.now(), 0), delayMs: 0 };
    await queue.enqueue([{ ...job, status: "queued" }]);
    await super.accept(process, queue, run);
  }
}

/** A worker that believes for ever in what it has once claimed. */
const beatNotHeard: Parts["store"] = (store) => {
  const claimed = new Map<string, OwnedRun>();
  return {
    ...store,
    claim: async (owner, runs) => {
      const got = await store.claim(owner, runs);
      for (const { run_id, attempt, signals } of got) claimed.set(run_id, { run_id, attempt, signals, cancel: false });
      return got;
    },
    beat: async (self) => {
      await store.beat(self);
      return [...claimed.values()];
    },
  };
};

/** A worker that takes a flush of unknown outcome for committed. */
const flushBelieved: Parts["store"] = (store) => ({
  ...store,
  flush: (entries) =>
    store.flush(entries).catch(() =>
      entries.map(({ run_id, known_seq, events_n, signals }) => ({
        run_id,
        event_seq: known_seq + events_n,
        signals,
        cancel: false,
      })),
    ),
});

const mutations: [what: string, parts: Partial<Parts>, because: RegExp][] = [
  ["the owner is dropped from the fence", { postgres: OwnerNotInFence }, /not its own/],
  ["event_seq is dropped from the fence", { postgres: EventSeqNotInFence }, /not the next|two results/],
  ["signals are dropped from the park", { postgres: SignalsNotInPark }, /had been cancelled/],
  ["a run is taken over from an owner that lives", { postgres: NoSilenceNeeded }, /which lives/],
  ["the walk of due runs has no overlap", { postgres: NoOverlap }, /has not ended/],
  ["upto is kept in Postgres", { redis: UptoInPostgres }, /has not ended/],
  ["sizes are not compared", { redis: SizesNotCompared }, /has not ended/],
  ["a run is enqueued before its commit", { front: EnqueuesFirst }, /does not exist/],
  ["the list of the beat is not heard", { store: beatNotHeard }, /has not ended|still executes/],
  ["an unknown outcome is taken for a commit", { store: flushBelieved }, /before it was committed/],
];

test.each(mutations)("the simulation notices that %s", { timeout: 120_000 }, async (_, parts, because) => {
  const found = { violations: "" };
  const result = await fc.check(
    fc.asyncProperty(history, async (given) => {
      const { violations } = await live(given, { ...soundParts, ...parts });
      const [violation] = violations.filter((each) => because.test(each));
      if (violation !== undefined) found.violations = violation;
      expect(violation).toBeUndefined();
    }),
    { numRuns: 1_500, endOnFailure: true },
  );
  expect(result.failed, "none of the histories has shown it").toBe(true);
  expect(found.violations).toMatch(because);
});
