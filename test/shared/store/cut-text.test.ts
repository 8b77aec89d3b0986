import { afterAll, beforeAll, expect, test } from "vitest";
import { flush } from "../../../shared/store/journal/flush.ts";
import { readCutText } from "../../../shared/store/journal/cut-text.ts";
import { openStore, stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const delta = (text: string) => JSON.stringify({ type: "llm_delta", orch_step_id: "a", text });

test("the text of a cut call is what earlier attempts have published after the step's last checkpoint", async () => {
  const run = await store.startRun();
  const write = async (kind: "turn" | "note", events: string, step_path: string | null = null) => {
    const [done] = await flush(store.sql, [
      stepEntry(run, { kind, events, events_n: 1, step_path, output: kind === "note" ? null : "{}" }),
    ]);
    expect(done).toBeDefined();
    run.event_seq += 1;
  };
  await write("note", delta("before"));
  await write("turn", delta("with the turn"), "a");
  await write("note", delta("one"));
  await write("note", '{"type":"thinking"}');
  await write("turn", delta("beside a turn of another step"), "b");
  await write("note", delta("two"));
  expect(await readCutText(store.sql, run.run_id, run.attempt + 1, "a")).toBe(
    [delta("one"), delta("beside a turn of another step"), delta("two")].join("\n"),
  );
  // Its own entries are no text of a crashed attempt.
  expect(await readCutText(store.sql, run.run_id, run.attempt, "a")).toBe("");
});
