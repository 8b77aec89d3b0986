/** Requests that depend on the runtime: its WebCrypto, its address rule, and clients that leave. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { masterKey } from "../../shared/security/master-keys.ts";
import { sealedPlace, unseal } from "../../shared/security/seal.ts";
import { pgArray } from "../../shared/store/sql.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { pace } from "../services/waiting.ts";
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

/** Runs `act` while no run can be committed. */
async function whileNothingCommits(act: () => Promise<void>): Promise<void> {
  await edge.stores.sql.begin(async (tx) => {
    await tx`lock table orchestrations in access exclusive mode`;
    await act();
  });
}

/**
 * Six clients post together, and every second one disconnects.
 * @returns how long the others wait after runs can be committed again
 */
async function leaveAndWaitMs(): Promise<number> {
  const leaving = new AbortController();
  const gone: Promise<unknown>[] = [];
  const stay: Promise<string>[] = [];
  await whileNothingCommits(async () => {
    for (const i of [0, 1, 2, 3, 4, 5]) {
      // The leader, whose call is under way; the next leader; and requests that only share the call.
      if (i % 2 === 0) gone.push(post(leaving.signal).catch(() => null));
      else stay.push(post(AbortSignal.timeout(30_000)));
      await pace(100);
    }
    leaving.abort();
    await pace(200);
  });
  const committableMs = performance.now();
  const runs = await Promise.all(stay);
  const waitedMs = performance.now() - committableMs;
  await Promise.all(gone);
  expect(runs).toHaveLength(3);
  const rows = await edge.stores.sql`select from runs where run_id = any(${pgArray(runs)}::text[])`;
  expect(rows).toHaveLength(3);
  return waitedMs;
}

// Fails when the lead is not passed on. (`waitUntil` is for runtimes that end a request with its client; this one does not.)
// Fails when the edge responds before it has read the body: the client sees a broken connection, every second time.
test("a body that is too large is a 413 each time, for a client that sends all of it first", async () => {
  const headers = { authorization: `Bearer ${edge.platformKey}`, "content-type": "application/json" };
  const body = JSON.stringify({ message: "x".repeat(11 * 1024 * 1024) });
  for (let n = 0; n < 6; n += 1) {
    const answer = await fetch(`${edge.base}/api/v2/chat`, { method: "POST", headers, body });
    expect(answer.status).toBe(413);
  }
});

test("an upload that is refused is answered each time, for a client that sends all of it first", async () => {
  const headers = { authorization: `Bearer ${edge.platformKey}`, "content-encoding": "gzip" };
  const body = new Uint8Array(11 * 1024 * 1024);
  for (let n = 0; n < 6; n += 1) {
    const answer = await fetch(`${edge.base}/api/v2/uploads?name=a.bin`, { method: "POST", headers, body });
    expect(answer.status).toBe(415);
  }
});

test("clients that leave while their requests share a call do no harm to the other requests", async () => {
  await post(AbortSignal.timeout(30_000));
  // If the lead were not passed on, the others would wait until the leader counts as lost: 3 s from their own beginning.
  let fastestMs = Infinity;
  for (let rounds = 0; rounds < 5 && fastestMs >= 1_500; rounds++) {
    fastestMs = Math.min(fastestMs, await leaveAndWaitMs());
  }
  expect(fastestMs).toBeLessThan(1_500);
}, 90_000);

// Fails when what the edge seals does not open in Node.
test("a webhook secret that the edge has sealed opens in a worker", async () => {
  const webhook_secret = "whispered-sécret-42";
  const run = await edge.start({ webhook_url: "https://hooks.example.com/", webhook_secret });
  const [row] = await edge.stores.sql`select webhook_secret from runs where run_id = ${run}`;
  const sealed = String(row?.["webhook_secret"]);
  expect(await unseal(masterKey().parse(MASTER_KEY), sealed, sealedPlace(run, SECRET_FIELD))).toBe(
    webhook_secret,
  );
});

test("a webhook to a private address is refused", async () => {
  const path = "/api/v2/orchestrations/orch_smoke/run";
  const answer = await edge.call("POST", path, { body: { webhook_url: "http://169.254.169.254/" } });
  expect([answer.status, await answer.json()]).toMatchObject([422, { code: "invalid" }]);
});
