/** Two workers and one provider on a local port: docs/protocol.md 5.25. */
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { bodyOf, runPath } from "../edge/app.ts";
import { chunk, text } from "../worker-node/models/provider-server.ts";
import { addDeltas, onlyText } from "../../shared/events/delta-text.ts";
import { startApi, untilEnd } from "./api.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
/** Ordered by id. `api.workers` is ordered by start. */
let workers: WorkerProcess[];
let atOnce = 0;
let most = 0;
/** The calls that wait for their answers. */
const open: ServerResponse[] = [];
const provider = createServer((request, response) => {
  request.resume();
  atOnce += 1;
  most = Math.max(most, atOnce);
  response.on("close", () => (atOnce -= 1));
  response.writeHead(200, { "content-type": "text/event-stream" });
  open.push(response);
});
const answerAll = () => open.splice(0).forEach((response) => response.end(text()));

beforeAll(async () => {
  await new Promise<void>((resolve) => provider.listen(0, "127.0.0.1", resolve));
  const address = provider.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  api = await startApi();
  const model = "openai-compatible/m1";
  await api.call("PUT", "/scale/provider-limits", { body: { model, max_concurrent: 2 } });
  await api.define("orchestrations", "calls", {
    name: "calls",
    entry_step_id: "a",
    steps: [{ id: "a", type: "llm", model, prompt_template: "go", retry: { attempts: 1 } }],
  });
  const env = { OPENAI_COMPATIBLE_BASE_URL: `http://127.0.0.1:${address.port}/v1` };
  workers = await Promise.all([api.startWorker("a", env), api.startWorker("b", env)]);
});
afterAll(async () => {
  await api.stop();
  provider.closeAllConnections();
  provider.close();
});

test("workers together make no more calls than the operator allows; the runs that wait hold no slot, and /why says so", async () => {
  const runs = await Promise.all(Array.from({ length: 6 }, () => api.start("calls")));
  await expect.poll(() => open.length, { timeout: 100_000 }).toBe(2);
  const reasonOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "why")));
  const waiting = async () => {
    const all = await Promise.all(runs.map(reasonOf));
    return all.filter(({ reason }) => reason === "provider_limit");
  };
  await expect.poll(async () => (await waiting()).length, { timeout: 100_000 }).toBe(4);
  const [first] = await waiting();
  expect(first).toMatchObject({
    state: "queued",
    blocked_by: [{ kind: "provider", model: "openai-compatible/m1", until: expect.any(String) }],
  });
  expect(first?.sentence).toContain("It asks again at");
  await Promise.all(
    runs.map(async (run) => {
      const statusOf = async () => {
        answerAll();
        return (await bodyOf(await api.call("GET", runPath(run, "status")))).status;
      };
      await expect.poll(statusOf).toBe("completed");
    }),
  );
  expect(most).toBe(2);
});

// Fails when what a killed worker had paid for is not charged, or when viewers join the old text and the new one.
test("after a kill -9 in the middle of an answer the call is made again: its text begins anew, and the cut call is charged as wasted", async () => {
  const half = "Half of a long answer. ".repeat(20);
  const ask = async (run: string, what: string) => bodyOf(await api.call("GET", runPath(run, what)));
  const run = await api.start("calls");
  await expect.poll(() => open.length, { timeout: 100_000 }).toBe(1);
  open[0]?.write(chunk({ content: half }));
  const Events = z.object({ events: z.array(z.object({ event: z.looseObject({ type: z.string() }) })) });
  const events = async () =>
    Events.parse(await ask(run, "events?limit=200")).events.map(({ event }) => event);
  await expect
    .poll(async () => (await events()).map(({ type }) => type), { timeout: 100_000 })
    .toContain("llm_delta");
  const Owner = z.object({ worker_id: z.string() });
  const { worker_id } = Owner.parse((await events()).find(({ type }) => type === "worker_picked_up"));
  const at = worker_id === "a" ? 0 : 1;
  open.length = 0;
  await workers[at]?.stop("SIGKILL");
  await expect.poll(() => open.length, { timeout: 100_000 }).toBe(1);
  answerAll();
  expect(await untilEnd(api, run)).toBe("completed");
  const all = await events();
  expect(all.map(({ type }) => type)).toContain("llm_restart");
  expect(onlyText(addDeltas(all))).toBe("fine");
  const rows = await api.stores.sql`
    select kind, estimated, output_tokens from usage where run_id = ${run} order by kind`;
  expect(rows).toMatchObject([
    { kind: "charged" },
    { kind: "wasted", estimated: true, output_tokens: half.length / 4 },
  ]);
});
