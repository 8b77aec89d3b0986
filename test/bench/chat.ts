/**
 * `npm run bench:chat [-- --data DIR --turns N]`: a chat session of 1,000 turns beside a running `npm start`. The last turns must take
 * no longer than the first: it fails when their median is above twice that of the first ones.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { quantile } from "./stats.ts";

const { values } = parseArgs({ options: { data: { type: "string" }, turns: { type: "string" } } });
const TURNS = Number(values.turns ?? 1_000);
/** The turns at the beginning and at the end that are compared. The first of all have no history yet. */
const PART = Math.floor(TURNS / 10);
const Facts = z.object({ api_base: z.string(), api_key: z.string() });
const facts = Facts.parse(JSON.parse(readFileSync(join(values.data ?? ".synapse", "dev.json"), "utf8")));
const headers = { authorization: `Bearer ${facts.api_key}`, "content-type": "application/json" };

async function call(method: string, path: string, body?: object): Promise<Response> {
  const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
  const response = await fetch(`${facts.api_base}/api/v2/${path}`, init);
  if (!response.ok)
    throw new Error(`${method} ${path} answered ${response.status}: ${await response.text()}`);
  return response;
}

await (await call("PUT", "agents/bench_chat", { name: "Bench", model: "demo/fast", tools: [] })).text();
const Turn = z.object({ session_id: z.string(), turn_id: z.string() });
let session: string | undefined;
const ms: number[] = [];
const accepted: number[] = [];
for (let n = 0; n < TURNS; n++) {
  const startedMs = performance.now();
  const body = { message: `Question ${n}: ${"why ".repeat(20)}?`, agent: "bench_chat", session_id: session };
  const turn = Turn.parse(await (await call("POST", "chat", body)).json());
  accepted.push(performance.now() - startedMs);
  session = turn.session_id;
  // The stream ends with the turn.
  await (await call("GET", `chat/${session}/stream?turn_id=${turn.turn_id}`)).text();
  ms.push(performance.now() - startedMs);
}
const parts = { first: ms.slice(0, PART), last: ms.slice(-PART) };
const posts = { first: accepted.slice(0, PART), last: accepted.slice(-PART) };
const shown = (samples: readonly number[]) =>
  `p50 ${quantile(samples, 0.5).toFixed(1)} ms, p99 ${quantile(samples, 0.99).toFixed(1)} ms`;
console.log(`session ${session}, ${TURNS} turns, from POST to done`);
console.log(`  the first ${PART}: ${shown(parts.first)} (202: ${shown(posts.first)})`);
console.log(`  the last ${PART}:  ${shown(parts.last)} (202: ${shown(posts.last)})`);
if (quantile(parts.last, 0.5) > 2 * quantile(parts.first, 0.5)) {
  console.error("the last turns take more than twice as long as the first");
  process.exitCode = 1;
}
