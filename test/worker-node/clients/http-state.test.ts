import { createServer } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findVerb } from "../../../shared/store/state.ts";
import { judgeStatement } from "../../../worker-node/clients/sqlstate.ts";
import { edgeStateStore } from "../../../worker-node/clients/http-state.ts";

const secret = "s".repeat(32);
let answer: { status: number; body: string };
let asked: { url: string; signature: string; body: string }[];
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const signature = String(request.headers["x-synapse-signature"]);
    asked.push({ url: request.url ?? "", signature, body: Buffer.concat(chunks).toString() });
    response.writeHead(answer.status, { "content-type": "application/json" }).end(answer.body);
  });
});

beforeEach(async () => {
  asked = [];
  answer = { status: 200, body: "[]" };
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
  expect(asked).toMatchObject([{ url: "/internal/state/readRunSnapshots", body: "[[]]" }]);
  expect(asked[0]?.signature).toMatch(/^t=[0-9]+,v1=[0-9a-f]{64}$/);
});

test("what Postgres says by way of the edge is judged as if it had been asked itself", async () => {
  answer = { status: 503, body: '{"sqlstate":"22021"}' };
  expect(judgeStatement(await failure())).toBe("data");
  answer = { status: 503, body: '{"sqlstate":"40P01"}' };
  expect(judgeStatement(await failure())).toBe("again");
});

test("an edge that is away, or does not know us, is asked again", async () => {
  for (const status of [401, 404, 408, 429, 500, 502, 503]) {
    answer = { status, body: "<html>" };
    expect(judgeStatement(await failure()), String(status)).toBe("again");
  }
});

// Red when: it is taken for a connection that was lost: one such entry would hold up all others of its worker for ever.
test("what the edge will never take is data that nobody will take", async () => {
  for (const status of [400, 413, 422]) {
    answer = { status, body: '{"code":"invalid"}' };
    expect(judgeStatement(await failure()), String(status)).toBe("data");
  }
});

test("an answer of another shape is an error, never a result", async () => {
  answer = { status: 200, body: '[{"run_id":"x"}]' };
  expect(await failure()).toBeInstanceOf(Error);
});

test("there is no verb by the name of something that every object has", () => {
  expect(findVerb("constructor")).toBeNull();
  expect(findVerb("flush")).not.toBeNull();
});
