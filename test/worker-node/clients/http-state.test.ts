import { createServer } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findVerb } from "../../../shared/store/state.ts";
import { judgeStatement } from "../../../worker-node/clients/sqlstate.ts";
import { edgeStateStore } from "../../../worker-node/clients/http-state.ts";

const secret = "s".repeat(32);
/** What the fake edge responds. */
let reply: { status: number; body: string };
let requests: { url: string; signature: string; body: string }[];
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const signature = String(request.headers["x-synapse-signature"]);
    requests.push({ url: request.url ?? "", signature, body: Buffer.concat(chunks).toString() });
    response.writeHead(reply.status, { "content-type": "application/json" }).end(reply.body);
  });
});

beforeEach(async () => {
  requests = [];
  reply = { status: 200, body: "[]" };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

function store() {
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return edgeStateStore(`http://127.0.0.1:${port}`, secret);
}

const failure = async (): Promise<unknown> =>
  store()
    .readRunSnapshots([])
    .then(
      () => null,
      (error: unknown) => error,
    );

test("a verb is a signed POST of its arguments", async () => {
  expect(await store().readRunSnapshots([])).toEqual([]);
  expect(requests).toMatchObject([{ url: "/internal/state/3/readRunSnapshots", body: "[[]]" }]);
  expect(requests[0]?.signature).toMatch(/^t=[0-9]+,h1=[0-9a-f]{64},v1=[0-9a-f]{64}$/);
});

test("an error of Postgres that the edge passes on is the error of a direct connection", async () => {
  reply = { status: 503, body: '{"sqlstate":"22021"}' };
  expect(judgeStatement(await failure())).toBe("data");
  reply = { status: 503, body: '{"sqlstate":"40P01"}' };
  expect(judgeStatement(await failure())).toBe("retry");
});

test("a request to an edge that is unreachable, or refuses the signature, is tried again", async () => {
  for (const status of [401, 404, 408, 429, 500, 502, 503]) {
    reply = { status, body: "<html>" };
    expect(judgeStatement(await failure()), String(status)).toBe("retry");
  }
});

// Fails when the response counts as a lost connection: such an entry would be flushed again for ever, and all others of its worker with it.
test("arguments that the edge will never accept count as data that Postgres will never accept", async () => {
  for (const status of [400, 413, 422]) {
    reply = { status, body: '{"code":"invalid"}' };
    expect(judgeStatement(await failure()), String(status)).toBe("data");
  }
});

test("a response of another shape is an error, never a result", async () => {
  reply = { status: 200, body: '[{"run_id":"x"}]' };
  expect(await failure()).toBeInstanceOf(Error);
});

test("the name of a property of every JavaScript object is not a verb", () => {
  expect(findVerb("constructor")).toBeNull();
  expect(findVerb("flush")).not.toBeNull();
});
