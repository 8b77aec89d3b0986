/** Requests that depend on the runtime: its WebCrypto, its address rule, and clients that leave. */
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { SECRET_FIELD } from "../../shared/contracts/webhook.ts";
import { masterKey } from "../../shared/security/master-keys.ts";
import { sealedPlace, unseal } from "../../shared/security/seal.ts";
import { pgArray } from "../../shared/store/sql.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { pace } from "../services/waiting.ts";
import { startEdge, type Edge } from "./edge.ts";
import { answerOfStopped } from "./stopped-request.ts";

const RUN = "/api/v2/orchestrations/orch_smoke/run";

/** The time limits of this edge: of a submitted run, and of a request that makes a call for others. */
const LIMIT_MS = 60_000;

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge(1, {}, { limits: { ACCEPT_MS: LIMIT_MS, LEADER_GONE_MS: LIMIT_MS } });
});
afterAll(() => edge.stop());

async function post(signal?: AbortSignal): Promise<string> {
  const answer = await fetch(`${edge.base}/api/v2/orchestrations/orch_smoke/run`, {
    method: "POST",
    headers: { authorization: `Bearer ${edge.platformKey}`, "content-type": "application/json" },
    body: JSON.stringify({ message: "hi" }),
    ...(signal && { signal }),
  });
  if (answer.status !== 202) throw new Error(`POST answered ${answer.status}: ${await answer.text()}`);
  return z.object({ run_id: z.string() }).parse(await answer.json()).run_id;
}

/** Runs `act` while no run can be committed. */
async function whileNothingCommits(act: () => Promise<void>): Promise<void> {
  await edge.stores.sql.begin(async (tx) => {
    await tx`set local idle_in_transaction_session_timeout = 0`;
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
  const disconnected: Promise<unknown>[] = [];
  const stay: Promise<string>[] = [];
  await whileNothingCommits(async () => {
    for (const i of [0, 1, 2, 3, 4, 5]) {
      // The leader, whose call is under way; the next leader; and requests that only share the call.
      if (i % 2 === 0) disconnected.push(post(leaving.signal).catch(() => null));
      else stay.push(post());
      await pace(100);
    }
    leaving.abort();
    await pace(200);
  });
  const committableMs = performance.now();
  const runs = await Promise.all(stay);
  const waitedMs = performance.now() - committableMs;
  await Promise.all(disconnected);
  expect(runs).toHaveLength(3);
  const rows = await edge.stores.sql`select from runs where run_id = any(${pgArray(runs)}::text[])`;
  expect(rows).toHaveLength(3);
  return waitedMs;
}

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

// Fails when such a client sees a broken connection instead of the response that its key is wrong, or its file too large.
test.each<[string, number, () => Promise<string>, string, boolean]>([
  ["an unknown key", 401, async () => `sk-syn-${"0".repeat(64)}`, "/api/v2/uploads?name=a.bin", false],
  ["a key without the scope", 403, () => readOnlyKey(), "/api/v2/uploads?name=a.bin", false],
  ["an unknown parameter", 422, async () => edge.platformKey, "/api/v2/uploads?nome=a.bin", false],
  ["no length, too large", 413, async () => edge.platformKey, RUN, true],
  ["no length, where one is needed", 411, async () => edge.platformKey, "/api/v2/uploads?name=a.bin", true],
])(
  "a large body with %s is a %i, for a client that reads nothing before it has sent all",
  async (_what, status, keyOf, path, isChunked) => {
    const head = `POST ${path} HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\nauthorization: Bearer ${await keyOf()}\r\n`;
    expect(await sendAllThenRead(head, isChunked)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  },
);

// Fails when the response waits for the rest of the body, as it does where the signal of a pipe is to end a read: such requests, which need
// no valid key, are never over. Fails when a body without a length is read before its key.
test.each([
  [
    "an unknown key and a length",
    `Bearer sk-syn-${"0".repeat(64)}`,
    401,
    "/api/v2/uploads?name=a.bin",
    false,
  ],
  ["an unknown key and no length", `Bearer sk-syn-${"0".repeat(64)}`, 401, RUN, true],
  ["no key and no length", null, 401, RUN, true],
  ["no key, no length and no route", null, 404, "/api/v2/nothing", true],
])(
  "a client with %s that stops in its body gets its answer",
  async (_what, authorization, status, path, isChunked) => {
    const length = isChunked ? "transfer-encoding: chunked" : "content-length: 1000";
    const fields = ["host: edge", "content-type: application/json", length];
    if (authorization !== null) fields.push(`authorization: ${authorization}`);
    expect(await answerOfStopped(edge, path, fields)).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  },
);

// Fails when a file that was changed on its way is stored.
test("an upload whose Content-Digest names other bytes is a 400, and another one is stored", async () => {
  const upload = (digest: string) =>
    fetch(`${edge.base}/api/v2/uploads?name=a.txt&tenant_id=digests`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${edge.platformKey}`,
        "content-type": "text/plain",
        "content-digest": `sha-256=:${digest}:`,
      },
      body: "abc",
    });
  const refused = await upload("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
  expect([refused.status, await refused.json()]).toMatchObject([400, { code: "bad_request" }]);
  const rows = () => edge.stores.sql`
    select from uploads where tenant_id = 'digests' and stored_at is not null and deleted_at is null`;
  expect(await rows()).toHaveLength(0);
  expect((await upload("ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")).status).toBe(201);
  expect(await rows()).toHaveLength(1);
});

/** Sends 12 MiB after a head. @returns the beginning of the response @throws when the connection ends before all is sent */
async function sendAllThenRead(head: string, isChunked: boolean): Promise<string> {
  const part = Buffer.alloc(1024 * 1024);
  const length = isChunked ? "transfer-encoding: chunked" : `content-length: ${12 * part.length}`;
  const chunk = isChunked ? Buffer.concat([Buffer.from("100000\r\n"), part, Buffer.from("\r\n")]) : part;
  const socket = connect(Number(new URL(edge.base).port), "127.0.0.1");
  const failed = once(socket, "error").then(([error]) => Promise.reject(error));
  const sent = async () => {
    socket.write(`${head}${length}\r\n\r\n`);
    for (let n = 0; n < 12; n += 1) if (!socket.write(chunk)) await once(socket, "drain");
    if (isChunked) socket.write("0\r\n\r\n");
    const [first] = await once(socket, "data");
    return String(first);
  };
  return Promise.race([sent(), failed]).finally(() => socket.destroy());
}

async function readOnlyKey(): Promise<string> {
  const body = { tenant_id: "reader", name: "r", scopes: ["runs:read"] };
  const answer = await edge.call("POST", "/scale/api-keys", { body });
  return z.object({ key: z.string() }).parse(await answer.json()).key;
}

// Fails when the lead is not passed on. (`waitUntil` is for runtimes that end a request with its client; this one does not.)
test("clients that leave while their requests share a call do no harm to the other requests", async () => {
  await post();
  // If the lead were not passed on, the others would wait until the leader counts as lost: a minute from their own beginning.
  expect(await leaveAndWaitMs()).toBeLessThan(LIMIT_MS / 2);
});

// Fails when what the edge seals does not open in Node.
// Fails when this runtime makes no second request of one whose body was read.
test("a body of any size may have a content type that the validators do not know, and no body any type", async () => {
  const send = async (method: string, path: string, type: string, body: string) => {
    const headers = { authorization: `Bearer ${edge.platformKey}`, "content-type": type };
    return (await fetch(`${edge.base}/api/v2/${path}`, { method, headers, body })).status;
  };
  for (const label of ["small", "l".repeat(70_000)]) {
    const body = JSON.stringify({ message: "hi", agent: "no-such-agent", metadata: { label } });
    expect(await send("POST", "chat", "application/json ;", body)).toBe(404);
  }
  const retry = "orchestrations/runs/run_000000000000_1780499750067/retry";
  expect(await send("POST", retry, "application/x-www-form-urlencoded", "")).toBe(404);
});

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
