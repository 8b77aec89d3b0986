import { afterEach, expect, test, vi } from "vitest";
import { TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { ExecutionHarness, steps, usage } from "./execution-harness.ts";
import type { ModelAnswer } from "../../../worker-node/engine/ports.ts";

afterEach(() => void vi.restoreAllMocks());

// Fails when the commit of one delegate's turn drops what another one has used and not committed yet.
test("what delegates use at the same time is charged once each, also when one of them fails", async () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  const harness = new ExecutionHarness();
  harness.definition = steps({ id: "a", type: "agent", agent_id: "lead", retry: { attempts: 1 } });
  harness.named.set("lead", { id: "lead", name: "Lead", delegate_agent_ids: ["one", "two"] });
  for (const id of ["one", "two"]) harness.named.set(id, { id, name: id });
  const failing = Promise.withResolvers<never>();
  const delegate = (agent_id: string) => ({
    id: agent_id,
    name: "delegate_to_agent",
    args: { agent_id, task: "Do it" },
  });
  const answers = new Map<string, ModelAnswer>([
    ["model.1", { text: "", tool_calls: [delegate("one"), delegate("two")], usage }],
    ["tool.1.2.model.1", { text: "two", tool_calls: [], usage }],
  ]);
  harness.models = {
    async generate({ effectKey, onUsage }) {
      const answer = answers.get(effectKey.split(":").slice(3).join(":"));
      if (answer !== undefined) return answer;
      onUsage?.({ ...usage, input_tokens: 99 });
      return failing.promise;
    },
  };
  const { run, ending } = harness.begin();
  const turns = () => harness.store.entriesOf(run.run_id).filter(({ kind }) => kind === "turn").length;
  await expect.poll(turns).toBe(3);
  failing.reject(new TerminalError("model_refused", "no"));
  expect(await ending).toEqual({ is: "ended" });
  harness.checkEntries();
  const charged = harness.store.entriesOf(run.run_id).flatMap((entry) => entry.usage);
  expect(charged.map(({ call, input_tokens }) => [call, input_tokens])).toEqual([
    ["model.1", 1],
    ["tool.1.2.model.1", 1],
    ["try.1.1", 99],
  ]);
  expect(harness.errorOf(run)).toContain("model_refused");
});

// Fails when the turn of one call takes the file of another call, whose result a crash may still lose.
test("a file of a call is committed with the result of that call, also when another call ends before it", async () => {
  const harness = new ExecutionHarness();
  harness.definition = steps({ id: "a", type: "agent", agent_id: "writer" });
  harness.named.set("writer", { id: "writer", name: "Writer", tools: ["save"] });
  const save = { name: "save", tool_type: "http", url: "https://example.com/", parallel: true };
  harness.named.set("save", { ...save, response: "artifact" });
  harness.files = {
    async putStream(_key, bytes) {
      for await (const piece of bytes) expect(piece).toHaveLength(1);
    },
    readRange: async () => new Uint8Array(),
    list: async function* () {},
    delete: async () => {},
  };
  const fileLimits = { session_id: null, max_bytes: 100, own_files: 0, own_bytes: 0, files: [] };
  harness.store.store.readRunFiles = async () => fileLimits;
  harness.store.store.reserveFile = async () => ({ accepted: true, used: 0, most: 100 });
  const call = (id: string) => ({ id, name: "save", args: {} });
  const answers: ModelAnswer[] = [
    { text: "", tool_calls: [call("slow"), call("quick")], usage },
    { text: "done", tool_calls: [], usage },
  ];
  const slowMayEnd = Promise.withResolvers<void>();
  const hasWritten = Promise.withResolvers<void>();
  harness.models = { generate: async () => answers.shift() ?? Promise.reject(new Error("no more answers")) };
  harness.callTool = async ({ effectKey, files }) => {
    const isSlow = effectKey.endsWith("tool.1.1");
    if (!isSlow) await hasWritten.promise;
    const name = isSlow ? "slow.txt" : "quick.txt";
    const file = { name, content_type: "text/plain", scope: "run" as const };
    const reference = await files.write(file, new Uint8Array(1));
    hasWritten.resolve();
    if (isSlow) await slowMayEnd.promise;
    return reference;
  };
  const { run, ending } = harness.begin();
  const filesOfTurns = () =>
    harness.store
      .entriesOf(run.run_id)
      .filter(({ kind }) => kind === "turn")
      .map(({ artifacts }) => artifacts?.map(({ name }) => name));
  await expect.poll(filesOfTurns).toEqual([[], ["quick.txt"]]);
  slowMayEnd.resolve();
  await ending;
  expect(filesOfTurns()).toEqual([[], ["quick.txt"], ["slow.txt"]]);
});
