import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
type Fields = JsonObject;

const define = (id: string, steps: Fields[], more: Fields = {}) =>
  api.define("orchestrations", id, {
    name: id,
    entry_step_id: steps[0]?.["id"] ?? "",
    steps: steps.map((step) => ({ name: step["id"] ?? "", ...step })),
    ...more,
  });
const print = (id: string, print_content: string, more: Fields = {}) => ({
  id,
  type: "print",
  print_content,
  output_key: id,
  ...more,
});
const nested = (id: string, orchestration_id: string, more: Fields = {}) => ({
  id,
  type: "orchestration",
  orchestration_id,
  output_key: id,
  ...more,
});

beforeAll(async () => {
  api = await startApi();
  await define("echo", [print("said", "{input} {state.topic}")], {
    state_schema: { topic: { default: "" } },
  });
  await define("parent", [
    print("topic", "about owls", { next_step_id: "child" }),
    nested("child", "echo", { input: "write: {input}", input_keys: ["topic"], next_step_id: "last" }),
    print("last", "got {state.child}"),
  ]);
  await api.startWorker("a");
});
afterAll(() => api.stop());

const resultOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "result")));

describe.concurrent("an orchestration step", { timeout: 60_000 }, () => {
  test("runs another orchestration as a run of its own, and goes on with its output", async () => {
    const run = await api.start("parent");
    expect(await untilEnd(api, run)).toBe("completed");
    const result = await resultOf(run);
    expect(result).toMatchObject({ output: expect.stringContaining("got write:") });
  });
});
