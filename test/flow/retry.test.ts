import { createServer } from "node:http";
import type { Server } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { portOf } from "../../worker-node/ops/health-server.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { count, startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

/** All calls of the tools. `broken`: the paths that answer 400. */
const calls: { path: string; key: string }[] = [];
const broken = new Set<string>();
let server: Server;
let api: FlowApi;

beforeAll(async () => {
  server = createServer((request, response) => {
    const path = new URL(request.url ?? "", "http://x").pathname;
    calls.push({ path, key: String(request.headers["idempotency-key"]) });
    response.writeHead(broken.has(path) ? 400 : 200).end(`"${path}"`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${portOf(server)}`;
  api = await startApi();
  for (const name of ["one", "two"]) {
    await api.define("tools", name, { name, tool_type: "http", method: "POST", url: `${base}/${name}` });
  }
  const step = (id: string, next?: string) => ({
    id,
    name: id,
    type: "tool",
    forced_tool: id,
    output_key: id,
    ...(next && { next_step_id: next }),
  });
  await api.define("orchestrations", "twice", {
    name: "Two tools",
    entry_step_id: "one",
    steps: [step("one", "two"), step("two")],
  });
  await api.startWorker("a", { EGRESS_ALLOW: "127.0.0.1" });
});
afterAll(async () => {
  await api.stop();
  server.close();
});
beforeEach(() => {
  calls.length = 0;
  broken.clear();
});

const Letters = z.array(z.object({ id: z.string(), run_id: z.string(), code: z.string() }));
const letters = async (run: string) => {
  const all = Letters.parse(await (await api.call("GET", "/scale/dlq?limit=200")).json());
  return all.filter((letter) => letter.run_id === run);
};
const pathsOf = (run: string) => calls.filter(({ key }) => key.startsWith(run)).map(({ path }) => path);
const streamOf = async (run: string) => (await api.call("GET", runPath(run, "stream"))).text();

describe("a run that failed", () => {
  const fail = async () => {
    broken.add("/two");
    const run = await api.start("twice");
    expect(await untilEnd(api, run)).toBe("failed");
    broken.clear();
    return run;
  };

  test("is retried from its dead letter: committed steps are not repeated, and its journal goes on", async () => {
    const run = await fail();
    const [letter, ...others] = await letters(run);
    expect([letter?.code, others]).toEqual(["tool_rejected", []]);
    const before = await streamOf(run);
    expect((await api.call("POST", `/scale/dlq/${letter?.id}/retry`)).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    expect(pathsOf(run)).toEqual(["/one", "/two", "/two"]);
    expect(await letters(run)).toEqual([]);
    const after = await streamOf(run);
    expect(after.startsWith(before)).toBe(true);
    const seqs = Array.from(after.matchAll(/^id: \d+-(\d+)$/gm), ([, seq]) => Number(seq));
    expect(seqs).toEqual(seqs.map((_, i) => i + 1));
    const rest = after.slice(before.length);
    expect(Array.from(rest.matchAll(/"type":"(\w+)"/g), ([, type]) => type)).toEqual([
      "run_retried",
      "worker_picked_up",
      "step_start",
      "tool_execution",
      "tool_result",
      "final",
      "step_complete",
      "orchestration_complete",
      "final",
      "done",
    ]);
    const result = await bodyOf(await api.call("GET", runPath(run, "result")));
    expect(result).toMatchObject({
      status: "completed",
      final_state: { one: "/one", two: "/two" },
      attempt: 2,
    });
  });

  test("is retried from an earlier step when the request names it", async () => {
    const run = await fail();
    const body = { from_step_id: "one" };
    expect((await api.call("POST", runPath(run, "retry"), { body })).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    expect(pathsOf(run)).toEqual(["/one", "/two", "/one", "/two"]);
  });

  test("that fails again has one unresolved dead letter, of its newest end", async () => {
    const run = await fail();
    broken.add("/two");
    await api.call("POST", runPath(run, "retry"));
    await expect.poll(async () => count(api, run, "done")).toBe(2);
    expect(await letters(run)).toHaveLength(1);
    const [row] = await api.stores.sql`select count(*)::int as n from dead_letters where run_id = ${run}`;
    expect(row?.n).toBe(2);
  });
});

// Fails when the end that a limit causes, and no step's error, is written without its dead letter.
describe("each limit that fails a run leaves one dead letter with its code", () => {
  const slow = (id: string, limits: object) => ({
    name: "Slow",
    entry_step_id: "write",
    ...(id === "run_timeout" && { timeout_minutes: 0.02 }),
    steps: [
      {
        id: "write",
        name: "Write",
        type: "llm",
        model: "demo/slow",
        prompt_template: "about 900 words",
        ...limits,
      },
    ],
  });

  test.each(["run_timeout", "step_timeout", "poison"])("%s", async (code) => {
    const limits = code === "step_timeout" ? { timeout_seconds: 1, retry: { attempts: 1 } } : {};
    await api.define("orchestrations", code, slow(code, limits));
    if (code === "poison") await api.stores.sql`alter table runs alter column crash_count set default 3`;
    const run = await api.start(code);
    expect(await untilEnd(api, run)).toBe("failed");
    await api.stores.sql`alter table runs alter column crash_count set default 0`;
    expect((await letters(run)).map((letter) => letter.code)).toEqual([code]);
    expect(await bodyOf(await api.call("GET", runPath(run, "status")))).toMatchObject({ error: { code } });
    expect(await count(api, run, "done")).toBe(1);
  });
});
