import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { pgArray } from "../../shared/store/sql.ts";
import { startEdge, type Edge } from "./edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
}, 60_000);
afterAll(() => edge.stop());

async function post(signal: AbortSignal): Promise<string> {
  const answer = await fetch(`${edge.base}/api/v2/orchestrations/orch_smoke/run`, {
    method: "POST",
    headers: { authorization: `Bearer ${edge.platformKey}`, "content-type": "application/json" },
    body: JSON.stringify({ message: "hi" }),
    signal,
  });
  if (answer.status !== 202) throw new Error(`POST answered ${answer.status}: ${await answer.text()}`);
  return z.object({ run_id: z.string() }).parse(await answer.json()).run_id;
}

/** Lets nobody commit a run meanwhile. */
async function whileNothingCommits(act: () => Promise<void>): Promise<void> {
  await edge.stores.sql.begin(async (tx) => {
    await tx`lock table orchestrations in access exclusive mode`;
    await act();
  });
}

// Red when: the lead is not passed on. (That a request ends with its client, as `keep` assumes, is not so in this runtime.)
test("clients that leave while their requests share calls with others harm nobody", async () => {
  await post(AbortSignal.timeout(10_000));
  const leaving = new AbortController();
  const gone: Promise<unknown>[] = [];
  const stay: Promise<string>[] = [];
  await whileNothingCommits(async () => {
    for (const i of [0, 1, 2, 3, 4, 5]) {
      // The leader, who is in a call now; the next to lead; and one who only comes along.
      if (i % 2 === 0) gone.push(post(leaving.signal).catch(() => null));
      else stay.push(post(AbortSignal.timeout(2_500)));
      await sleep(100);
    }
    leaving.abort();
    await sleep(200);
  });
  const runs = await Promise.all(stay);
  await Promise.all(gone);
  expect(runs).toHaveLength(3);
  const rows = await edge.stores.sql`select from runs where run_id = any(${pgArray(runs)}::text[])`;
  expect(rows).toHaveLength(3);
}, 30_000);
