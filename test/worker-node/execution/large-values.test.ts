import { expect, test } from "vitest";
import type { Json } from "../../../shared/contracts/json.ts";
import { writeLines } from "../../../shared/events/lines.ts";
import { LargeValues, loadValue } from "../../../worker-node/execution/large-values.ts";
import { ObjectStoreError } from "../../../worker-node/execution/object-store.ts";
import type { ObjectStore } from "../../../worker-node/execution/object-store.ts";

function memory(): ObjectStore & { objects: Map<string, string> } {
  const objects = new Map<string, string>();
  return {
    objects,
    put: async (key, body) => void objects.set(key, body),
    async get(key, maxBytes) {
      const body = objects.get(key);
      if (body === undefined) throw new Error(`no object ${key}`);
      return Buffer.byteLength(body) > maxBytes ? null : body;
    },
  };
}

const hash = (value: Json): string => JSON.stringify(value).slice(0, 8);
const large = (letter: string): string => letter.repeat(40_000);

test("a large value is stored as an object, and loaded as it was", async () => {
  const store = memory();
  const out = await new LargeValues(() => store, "acme/run_1/a/1.1").storeValues({
    text: large("x"),
    small: "s",
  });
  expect(out).toMatchObject({ small: "s", text: { $ref: "acme/run_1/a/1.1/set.text", size: 40_002 } });
  expect(await loadValue(store, out["text"] ?? null, "acme")).toBe(large("x"));
});

// Fails when two calls at the same time put the value twice.
test("a large value under two names is stored once", async () => {
  const store = memory();
  const out = await new LargeValues(() => store, "acme/run_1/a/1.1").storeValues({
    verdict: large("x"),
    reason: large("x"),
  });
  expect(out["reason"]).toEqual(out["verdict"]);
  expect(store.objects.size).toBe(1);
});

// Fails when a visit that lasts for an hour writes to a bucket that no worker reads any more.
test("a visit that lasts longer than its object store stores its later values in the new one", async () => {
  const [before, after] = [memory(), memory()];
  let current = before;
  const values = new LargeValues(() => current, "acme/run_1/a/1.1");
  await values.storeResponse(large("x"));
  current = after;
  await values.storeResponse(large("y"));
  expect([...before.objects.values(), ...after.objects.values()].map((json) => json[1])).toEqual(["x", "y"]);
});

// Fails when the key is the name alone, so that the second object replaces the first.
test("a response does not replace a state key of the same name", async () => {
  const store = memory();
  const values = new LargeValues(() => store, "acme/run_1/a/1.1");
  const set = await values.storeValues({ response: [large("s")], "event.result": large("t") });
  const response = await values.storeResponse(large("r"));
  const [event] = await values.storeEvents([
    { type: "transform_result", orch_step_id: "a", step_name: "a", result: large("e") },
  ]);
  const load = async (value: Json | undefined) => hash(await loadValue(store, value ?? null, "acme"));
  expect(await load(set["response"])).toBe(hash([large("s")]));
  expect(await load(response)).toBe(hash(large("r")));
  expect(await load(set["event.result"])).toBe(hash(large("t")));
  expect(event?.type === "transform_result" && (await load(event.result))).toBe(hash(large("e")));
});

// Fails when the JSON by which an event is measured is written again for its line: the events that end a run hold its state twice.
test("the JSON of an event without large values is written once, and its line is the same", async () => {
  let writes = 0;
  const state = {
    get answer() {
      writes += 1;
      return "x".repeat(1_000);
    },
  };
  const event = { type: "orchestration_complete", status: "completed", final_state: state } as const;
  const unmeasured = writeLines([{ ...event }], new Date(0), "c");
  writes = 0;
  const events = await new LargeValues(() => memory(), "acme/run_1/end.1").storeEvents([event]);
  expect(writeLines(events, new Date(0), "c")).toEqual(unmeasured);
  expect(writes).toBe(1);
});

// Fails when every value that looks like a reference is loaded: clients and models write state.
test("a forged reference does not load another tenant's object", async () => {
  const store = memory();
  store.objects.set("globex/run_2/a/1.1/secret", '"theirs"');
  for (const $ref of [
    "globex/run_2/a/1.1/secret",
    "acme/../globex/run_2/a/1.1/secret",
    "/globex/run_2/a/1.1/secret",
    "acmeglobex/run_2",
  ]) {
    const forged = { $ref, size: 8, content_type: "application/json", preview: "" };
    expect(await loadValue(store, forged, "acme")).toEqual(forged);
  }
});

// Fails when the size of a reference is believed: a state of small forged references would load more than a state may have.
test("a reference with another size than its object has is an ordinary value", async () => {
  const store = memory();
  store.objects.set("acme/run_1/a/1.1/mine", '"mine"');
  const reference = (size: number) => ({
    $ref: "acme/run_1/a/1.1/mine",
    size,
    content_type: "application/json",
    preview: "",
  });
  expect(await loadValue(store, reference(6), "acme")).toBe("mine");
  for (const size of [5, 7]) expect(await loadValue(store, reference(size), "acme")).toEqual(reference(size));
});

test("a worker without an object store leaves values as they are", async () => {
  const values = { text: large("x") };
  expect(await new LargeValues(() => null, "p").storeValues(values)).toEqual(values);
});

const limits = { requestMs: 50, pausesMs: [1, 1] };
const never = (): Promise<never> => new Promise(() => {});
const away = { name: "RetryableError", code: "artifacts_away", retryAfterMs: 10_000 };

// Fails when a store that does not answer keeps a step without end, or its outage is an internal error.
test("a store that does not answer a step ends its request with an error that is tried again", async () => {
  const reference = { $ref: "acme/run_1/a/1.1/mine", size: 6, content_type: "application/json", preview: "" };
  const values = new LargeValues(() => ({ put: never, get: never }), "acme/run_1/a/1.1", limits);
  await expect(values.storeValues({ text: large("x") })).rejects.toMatchObject(away);
  await expect(loadValue({ put: never, get: never }, reference, "acme", limits)).rejects.toMatchObject(away);
  await expect(loadValue(null, reference, "acme")).rejects.toMatchObject(away);
});

// Fails when a cancel waits for an object store that does not answer.
test("a wait for a put ends with the signal", async () => {
  const stop = new AbortController();
  const values = new LargeValues(() => ({ put: never, get: never }), "p", undefined, stop.signal);
  const stored = Promise.all([
    expect(values.storeValues({ text: large("x") })).rejects.toThrow("cancelled"),
    expect(values.storeResponse(large("y"))).rejects.toThrow("cancelled"),
  ]);
  stop.abort(new Error("cancelled"));
  await stored;
});

test("a put that fails is tried again, and a put that is refused is not", async () => {
  let puts = 0;
  const failing = (error: Error): ObjectStore => ({
    get: never,
    put: async () => {
      puts += 1;
      throw error;
    },
  });
  const store = (error: Error) =>
    new LargeValues(() => failing(error), "p", limits).storeResponse(large("x"));
  await expect(store(new Error("secret"))).rejects.toMatchObject({
    ...away,
    message: expect.not.stringContaining("secret"),
  });
  expect(puts).toBe(3);
  await expect(store(new ObjectStoreError("refused", "HTTP 403"))).rejects.toMatchObject({
    name: "TerminalError",
    code: "artifacts_refused",
  });
  expect(puts).toBe(4);
});
