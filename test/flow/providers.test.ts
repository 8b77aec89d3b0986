/** Two workers and one provider on a local port: docs/protocol.md 5.25. */
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bodyOf, runPath } from "../edge/app.ts";
import { text } from "../worker-node/models/provider-server.ts";
import { startApi } from "./api.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
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
  await Promise.all([api.startWorker("a", env), api.startWorker("b", env)]);
});
afterAll(async () => {
  await api.stop();
  provider.closeAllConnections();
  provider.close();
});

test("workers together make no more calls than the operator allows; the runs that wait hold no slot, and /why says so", async () => {
  const runs = await Promise.all(Array.from({ length: 6 }, () => api.start("calls")));
  await expect.poll(() => open.length, { timeout: 20_000 }).toBe(2);
  const reasonOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "why")));
  const waiting = async () => {
    const all = await Promise.all(runs.map(reasonOf));
    return all.filter(({ reason }) => reason === "provider_limit");
  };
  await expect.poll(async () => (await waiting()).length, { timeout: 20_000 }).toBe(4);
  const [first] = await waiting();
  expect(first).toMatchObject({
    state: "queued",
    blocked_by: [{ kind: "provider", model: "openai-compatible/m1", until: expect.any(String) }],
  });
  expect(first?.sentence).toContain("It asks again at");
  const all = await Promise.all(
    runs.map(async (run) => {
      const isEnded = async () => {
        answerAll();
        return (await bodyOf(await api.call("GET", runPath(run, "status")))).status;
      };
      await expect.poll(isEnded, { timeout: 60_000 }).toBe("completed");
      return run;
    }),
  );
  expect(all).toHaveLength(6);
  expect(most).toBe(2);
});
