/** Workers that die while OpenAI makes an answer in the background: docs/protocol.md 5.31. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { addDeltas, onlyText } from "../../shared/events/delta-text.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { ResponsesServer } from "../worker-node/models/responses-server.ts";
import { startApi, untilEnd } from "./api.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
/** Ordered by id. `api.workers` is ordered by start. */
let workers: WorkerProcess[];
const server = new ResponsesServer();

beforeAll(async () => {
  const [base, started] = await Promise.all([server.start(), startApi()]);
  api = started;
  const step = { id: "a", type: "llm", model: "openai/gpt-4.1", prompt_template: "go", output_key: "text" };
  await api.define("orchestrations", "writes", {
    name: "writes",
    entry_step_id: "a",
    steps: [{ ...step, background: true, retry: { attempts: 1 } }],
  });
  const env = { OPENAI_API_KEY: "k", OPENAI_BASE_URL: base, WORKER_DRAIN_SECONDS: "0" };
  workers = await Promise.all(["a", "b", "c", "d"].map((id) => api.startWorker(id, env)));
  await api.call("PUT", "/scale/budgets/all", { body: { scope: "tenant", period: "total", limit_usd: 1 } });
});
afterAll(async () => {
  await api.stop();
  server.stop();
});

const Events = z.object({ events: z.array(z.object({ event: z.looseObject({ type: z.string() }) })) });
const eventsOf = async (run: string) => {
  const body = await bodyOf(await api.call("GET", runPath(run, "events?limit=200")));
  return Events.parse(body).events.map(({ event }) => event);
};
const textOf = async (run: string) => onlyText(addDeltas(await eventsOf(run)));
const Owner = z.object({ worker_id: z.string() });

/** A run whose answer has begun: viewers have its first words. */
async function begun(words: string) {
  const before = server.responses.length;
  const run = await api.start("writes");
  await expect.poll(() => server.responses.length, { timeout: 100_000 }).toBe(before + 1);
  const response = server.responses.at(-1);
  if (response === undefined) throw new Error("no response");
  response.sendText(words);
  await expect.poll(() => textOf(run), { timeout: 100_000 }).toBe(words);
  return { run, response };
}

/** Ends the worker that moves the run. */
async function stopWorkerOf(run: string, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
  const { worker_id } = Owner.parse(
    (await eventsOf(run)).findLast(({ type }) => type === "worker_picked_up"),
  );
  await workers["abcd".indexOf(worker_id)]?.stop(signal);
}

const usageOf = (run: string) =>
  api.stores
    .sql`select kind, estimated, input_tokens, output_tokens from usage where run_id = ${run} order by kind`;

// Fails when the id of the response is not committed, when the text is published twice, or when both workers charge it.
test.each(["SIGKILL", "SIGTERM"] as const)(
  "after a %s the next worker continues the same response: it is charged once, and its text does not begin anew",
  async (signal) => {
    const begunBefore = server.responses.length;
    const { run, response } = await begun("Half of ");
    await stopWorkerOf(run, signal);
    response.sendText("an answer");
    await expect.poll(() => response.connections).toBe(1);
    response.sendText(".");
    response.complete();
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await textOf(run)).toBe("Half of an answer.");
    const types = (await eventsOf(run)).map(({ type }) => type);
    expect(types).not.toContain("llm_restart");
    expect(await usageOf(run)).toMatchObject([
      { kind: "charged", estimated: false, input_tokens: 40, output_tokens: 60 },
    ]);
    expect(server.responses).toHaveLength(begunBefore + 1);
    expect(response.isCancelled).toBe(false);
    // The budget counts it once: 40 and 60 tokens of gpt-4.1 are 560 micro-dollars.
    const charged = await api.stores.sql`
      select count(*)::int as calls, sum(micro_usd)::int as cost from budget_calls where run_id = ${run} and charged`;
    expect(charged).toEqual([{ calls: 1, cost: 560 }]);
  },
);

test("when the provider has forgotten the response, the call is made again, and the text that viewers have seen is charged as wasted", async () => {
  const { run } = await begun("Forgotten words");
  await stopWorkerOf(run, "SIGKILL");
  server.forget();
  await expect.poll(() => server.responses.length).toBe(1);
  const [again] = server.responses;
  again?.sendText("New words");
  again?.complete();
  expect(await untilEnd(api, run)).toBe("completed");
  expect(await textOf(run)).toBe("New words");
  expect((await eventsOf(run)).map(({ type }) => type)).toContain("llm_restart");
  expect(await usageOf(run)).toMatchObject([{ kind: "charged" }, { kind: "wasted", estimated: true }]);
});

test("a cancel of the run cancels the response at the provider", async () => {
  const { run, response } = await begun("Never mind");
  await api.call("POST", runPath(run, "cancel"));
  expect(await untilEnd(api, run)).toBe("cancelled");
  await expect.poll(() => response.isCancelled, { timeout: 100_000 }).toBe(true);
  expect(await usageOf(run)).toMatchObject([{ kind: "wasted", estimated: true }]);
});
