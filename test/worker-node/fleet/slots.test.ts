import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { Lane } from "../../../shared/contracts/run.ts";
import { newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { Slots } from "../../../worker-node/fleet/slots.ts";
import { tenant } from "../../shared/queue/fixture.ts";
import { WorkerRoom } from "../../shared/queue/shares.ts";

const MIB = 1024 * 1024;
const [greedy, quiet] = [tenant("greedy"), tenant("quiet")];

let slots: Slots;
beforeEach(() => {
  slots = new Slots(10, Lane.options);
});

function mayTake(owner: TenantId, lane: Lane = "default"): boolean {
  return new WorkerRoom(slots.room()).mayTake({ tenant: owner, lane });
}

/** Takes runs of the tenant, as many as the worker may. @returns them */
function takeAll(owner: TenantId, lane: Lane = "default"): RunId[] {
  const runs: RunId[] = [];
  while (mayTake(owner, lane)) {
    const run = newRunId(Date.now());
    slots.take(run, owner, lane);
    runs.push(run);
  }
  return runs;
}

describe("the slots of a worker", () => {
  test("are all of WORKER_CONCURRENCY for a tenant that is alone, and no more", () => {
    expect(takeAll(greedy)).toHaveLength(10);
  });

  test("have room for a tenant that holds none, however many runs another holds", () => {
    takeAll(greedy);
    expect(mayTake(quiet)).toBe(true);
    expect(takeAll(quiet)).toHaveLength(5);
  });

  test("have room for one more tenant as long as fewer tenants hold runs than there are slots, in any order of arrivals and ends", () => {
    const arrival = fc.record({ holder: fc.nat(18), ends: fc.boolean() });
    fc.assert(
      fc.property(
        fc.integer({ min: 10, max: 12 }),
        fc.array(arrival, { maxLength: 200 }),
        (openTotal, arrivals) => {
          slots = new Slots(openTotal, Lane.options);
          const held: RunId[] = [];
          for (const { holder, ends } of arrivals) {
            const first = ends ? held.shift() : undefined;
            if (first) slots.release(first);
            else if (mayTake(tenant(`greedy-${holder}`))) {
              const run = newRunId(Date.now());
              slots.take(run, tenant(`greedy-${holder}`), "default");
              held.push(run);
            }
            expect(mayTake(quiet)).toBe(true);
          }
        },
      ),
    );
  });

  test("are shared inside a lane too: a tenant that is alone there holds the lane's open slots", () => {
    expect(takeAll(greedy, "bulk")).toHaveLength(5);
    expect(mayTake(greedy)).toBe(true);
    expect(mayTake(quiet, "bulk")).toBe(true);
  });

  test("are claimed by any tenant while one is open, so that a worker with an open slot takes every job of its marker", () => {
    const held = fc.array(fc.record({ holder: fc.nat(4), lane: fc.constantFrom(...Lane.options) }), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(held, (arrivals) => {
        slots = new Slots(10, Lane.options);
        for (const { holder, lane } of arrivals)
          if (mayTake(tenant(`t${holder}`), lane))
            slots.take(newRunId(Date.now()), tenant(`t${holder}`), lane);
        for (const lane of slots.markers().open)
          for (let n = 0; n < 5; n++) expect(mayTake(tenant(`t${n}`), lane)).toBe(true);
      }),
    );
  });
});

describe("the slots that an operator has set for a lane", () => {
  test("are the most that the worker takes of it, of all tenants together, and the other lanes have the rest", () => {
    slots.laneSettings.replace({ bulk: { slots: 3 } });
    expect(takeAll(greedy, "bulk")).toHaveLength(3);
    expect(mayTake(quiet, "bulk")).toBe(false);
    expect(slots.markers()).toEqual({
      open: Lane.options.filter((lane) => lane !== "bulk"),
      spare: [],
    });
    expect(takeAll(greedy)).toHaveLength(7);
  });

  test("act on the next claim when they change; runs beyond a lower number go on", async () => {
    const runs = takeAll(greedy, "bulk");
    const { released } = slots;
    slots.laneSettings.replace({ bulk: { slots: 2 } });
    await released;
    for (const run of runs.slice(0, 3)) slots.release(run);
    expect(mayTake(quiet, "bulk")).toBe(false);
    slots.release(runs[3] ?? newRunId(Date.now()));
    expect(mayTake(quiet, "bulk")).toBe(true);
    slots.laneSettings.replace({});
    expect(takeAll(greedy, "bulk")).toHaveLength(4);
  });

  test("are claimed with the lane's weight and rate", () => {
    slots.laneSettings.replace({ default: { weight: 7, starts_per_second: 2 } });
    expect(slots.room().rules).toMatchObject({
      default: { weight: 7, starts_per_second: 2 },
      bulk: { weight: 1, starts_per_second: null },
    });
  });
});

describe("the state that a worker holds", () => {
  test("keeps a tenant that holds much of it from another run, and no other tenant", () => {
    const [first] = takeAll(greedy).map((run, at) => {
      if (at < 4) slots.holdState(run, 40 * MIB);
      else slots.release(run);
      return run;
    });
    expect(slots.active).toBe(4);
    expect([mayTake(greedy), mayTake(quiet)]).toEqual([false, true]);
    expect(slots.markers().open).toEqual([]);
    if (first) slots.release(first);
    expect([mayTake(greedy), slots.markers().open]).toEqual([true, Lane.options]);
  });

  test("counts the latest size of each run", () => {
    const run = newRunId(Date.now());
    slots.take(run, greedy, "default");
    slots.holdState(run, 200 * MIB);
    slots.holdState(run, MIB);
    expect(mayTake(greedy)).toBe(true);
  });
});
