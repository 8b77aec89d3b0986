import { afterAll, beforeAll, expect, test } from "vitest";
import { startFleet } from "./fleet.ts";
import type { Fleet } from "./fleet.ts";

let fleet: Fleet;

beforeAll(async () => {
  fleet = await startFleet();
  await fleet.define({
    id: "orch_two",
    name: "Two prints",
    entry_step_id: "a",
    steps: [
      {
        id: "a",
        name: "First",
        type: "print",
        print_content: "one {state.user_input}",
        output_key: "one",
        next_step_id: "b",
      },
      { id: "b", name: "Second", type: "print", print_content: "two after {state.one}", output_key: "two" },
    ],
  });
  await fleet.startWorker("w1");
});
afterAll(() => fleet.close());

test("a run is executed to its end, and its journal has every event once", async () => {
  const run = await fleet.run("orch_two");
  const row = await fleet.ended(run);
  expect(row).toMatchObject({ status: "completed", attempt: 1, step_count: 2, error: null });
  const events = await fleet.events(run);
  expect(events.map((event) => event.type)).toEqual([
    "worker_picked_up",
    "orchestration_start",
    "step_start",
    "final",
    "step_complete",
    "step_start",
    "final",
    "step_complete",
    "orchestration_complete",
    "final",
    "done",
  ]);
  expect(events.at(-3)).toMatchObject({ final_state: { one: "one hello", two: "two after one hello" } });
  const journal = await fleet.sql<{ seq: number; events_n: number }[]>`
    select seq, events_n from journal where run_id = ${run} order by seq`;
  let seq = 0;
  for (const entry of journal) {
    expect(entry.seq - entry.events_n).toBe(seq);
    seq = entry.seq;
  }
  expect(seq).toBe(row.event_seq);
});
