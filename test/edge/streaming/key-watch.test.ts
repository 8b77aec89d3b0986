import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { KeyWatch } from "../../../edge/streaming/key-watch.ts";
import { KEY_CHECK_MS } from "../../../shared/timing.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function watched(valid: Set<string>) {
  const queries: string[][] = [];
  const ended: string[] = [];
  let away = false;
  const watch = new KeyWatch(async (keyIds) => {
    queries.push(keyIds);
    if (away) throw new Error("Postgres is unreachable");
    return new Set(keyIds.filter((id) => valid.has(id)));
  });
  const add = (name: string, keyId: string, untilMs: number | null = null) =>
    watch.add({ keyId, untilMs }, () => ended.push(name));
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 1_000) {
      vi.advanceTimersByTime(1_000);
      await watch.tick();
    }
  };
  return { add, pass, queries, ended, setAway: (value: boolean) => (away = value) };
}

test("the streams of a key end within 11 s after it was revoked, and those of other keys go on", async () => {
  const valid = new Set(["one", "two"]);
  const { add, pass, ended } = watched(valid);
  add("a", "one");
  add("b", "one");
  add("c", "two");
  await pass(60_000);
  expect(ended).toEqual([]);
  valid.delete("one");
  await pass(KEY_CHECK_MS + 1_000);
  expect(ended).toEqual(["a", "b"]);
});

test("a stream that a revoked key opens from the edge's cache ends at the next tick", async () => {
  const { add, pass, ended } = watched(new Set());
  add("a", "revoked");
  await pass(1_000);
  expect(ended).toEqual(["a"]);
});

test("one query looks up all keys that are due, and there is no query while there is no viewer", async () => {
  const { add, pass, queries } = watched(new Set(["one", "two"]));
  const removals = [add("a", "one"), add("b", "two"), add("c", "two")];
  await pass(KEY_CHECK_MS);
  expect(queries).toEqual([["one", "two"]]);
  for (const remove of removals) remove();
  await pass(60_000);
  expect(queries).toHaveLength(1);
});

test("a stream ends when its token has expired", async () => {
  const { add, pass, ended } = watched(new Set(["one"]));
  add("a", "one", Date.now() + 5_000);
  await pass(4_000);
  expect(ended).toEqual([]);
  await pass(1_000);
  expect(ended).toEqual(["a"]);
});

test("no stream ends because Postgres is unreachable, and the check is repeated until it answers", async () => {
  const { add, pass, ended, setAway } = watched(new Set());
  add("a", "one");
  setAway(true);
  await pass(30_000);
  expect(ended).toEqual([]);
  setAway(false);
  await pass(1_000);
  expect(ended).toEqual(["a"]);
});

// With its last viewer, the relay object closes its connections to Postgres: the check that is under way fails.
test("a check that fails after its last viewer has left is no warning in the log", async () => {
  const logged = vi.spyOn(console, "error").mockImplementation(() => {});
  const read = Promise.withResolvers<Set<string>>();
  const watch = new KeyWatch(() => read.promise);
  const remove = watch.add({ keyId: "one", untilMs: null }, () => {});
  const checked = watch.tick();
  remove();
  read.reject(new Error("the connection is closed"));
  await checked;
  expect(logged).not.toHaveBeenCalled();
});
