import { createServer } from "node:http";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { expect, test } from "vitest";
import { createObjectStore } from "../../../worker-node/clients/s3-object-store.ts";
import { portOf } from "../../../worker-node/ops/health-server.ts";

/** An object store whose server responds as `listener` does. */
async function storeOf(listener: RequestListener, requestMs?: number) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const store = createObjectStore({
    endpoint: `http://127.0.0.1:${portOf(server)}`,
    bucket: "b",
    region: "auto",
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
    ...(requestMs !== undefined && { requestMs }),
  });
  return { store, close: () => (server.closeAllConnections(), server.close()) };
}

// Fails when the SDK only warns at its limit, which is its default: the worker would wait without end.
test("a request to an object store that never responds ends at its time limit", async () => {
  const { store, close } = await storeOf(() => {}, 300);
  await expect(store.put("key", "x".repeat(100_000), "application/json")).rejects.toThrow("300 ms");
  close();
});

// Fails when an object is read into memory before its size is compared.
test("an object that is larger than its reader allows is not read", async () => {
  let wasCut = false;
  const { store, close } = await storeOf((_request, response) => {
    response.writeHead(200, { "content-length": "100000000" });
    response.write("x".repeat(1_000));
    response.on("close", () => (wasCut = true));
  });
  expect(await store.get("key", 2_000)).toBeNull();
  await expect.poll(() => wasCut).toBe(true);
  close();
});

/** A store that loses the reply to the last request of an upload, and answers the next one as S3 does. */
async function forgetfulStore(sizeOf: (received: number) => number) {
  let received = 0;
  let completions = 0;
  const answer = (request: IncomingMessage, response: ServerResponse, bytes: number) => {
    const url = new URL(request.url ?? "", "http://s3");
    if (request.method === "HEAD") {
      const size = sizeOf(received);
      return response.writeHead(size < 0 ? 404 : 200, { "content-length": Math.max(0, size) }).end();
    }
    if (request.method === "PUT") {
      received += bytes;
      return response.writeHead(200, { etag: '"e"' }).end();
    }
    response.setHeader("content-type", "application/xml");
    if (url.searchParams.has("uploads")) {
      return response.end(
        "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
      );
    }
    if (completions++ === 0) return request.socket.destroy();
    return response.writeHead(404).end("<Error><Code>NoSuchUpload</Code></Error>");
  };
  return storeOf((request, response) => {
    let bytes = 0;
    request.on("data", (part: Buffer) => (bytes += part.length));
    request.on("end", () => answer(request, response, bytes));
  });
}

async function* mebibytes(count: number) {
  for (let i = 0; i < count; i++) yield Buffer.alloc(1024 * 1024);
}

// Fails when the SDK's NoSuchUpload after a lost reply counts as a failure.
test("a lost reply to the last request of an upload is resolved by a look-up of the object", async () => {
  const { store, close } = await forgetfulStore((received) => received);
  await expect(store.putStream("key", mebibytes(9), "image/png")).resolves.toBeUndefined();
  close();
});

test.each([
  ["is not there", () => -1],
  ["has another size", () => 5],
])(
  "an upload whose object %s after a lost reply has failed",
  async (_, sizeOf) => {
    const { store, close } = await forgetfulStore(sizeOf);
    await expect(store.putStream("key", mebibytes(9), "image/png")).rejects.toMatchObject({
      message: "HTTP 404, NoSuchUpload",
    });
    close();
  },
  40_000,
);

// Fails when the part of a stream that broke is stored as if it were all of it.
test("a stream that throws leaves no object, and its error is thrown", async () => {
  const { store, close } = await forgetfulStore(() => 0);
  const broken = async function* () {
    yield Buffer.from("x");
    throw new Error("the source broke");
  };
  await expect(store.putStream("key", broken(), "image/png")).rejects.toThrow("the source broke");
  close();
});

// Fails when wrong settings look like an outage, or an outage like wrong settings.
test.each([
  [
    "put",
    403,
    "AccessDenied",
    { name: "ObjectStoreError", why: "refused", message: "HTTP 403, AccessDenied" },
  ],
  ["put", 401, "Unauthorized", { name: "ObjectStoreError", why: "refused" }],
  [
    "put",
    404,
    "NoSuchBucket",
    { name: "ObjectStoreError", why: "refused", message: "HTTP 404, NoSuchBucket" },
  ],
  ["put", 301, "PermanentRedirect", { name: "ObjectStoreError", why: "refused" }],
  ["put", 503, "SlowDown", { name: "SlowDown" }],
  ["put", 500, "InternalError", { name: "InternalError" }],
  ["put", 429, "TooManyRequests", { name: "TooManyRequests" }],
  ["get", 403, "SignatureDoesNotMatch", { name: "ObjectStoreError", why: "refused" }],
  ["get", 404, "NoSuchKey", { name: "ObjectStoreError", why: "missing" }],
  ["get", 404, "NoSuchBucket", { name: "ObjectStoreError", why: "refused" }],
  ["get", 503, "ServiceUnavailable", { name: "ServiceUnavailable" }],
] as const)(
  "a %s that is answered with %i %s says whether another try may succeed",
  async (verb, status, code, error) => {
    const { store, close } = await storeOf((request, response) => {
      request.resume();
      request.on("end", () => {
        response.writeHead(status, { "content-type": "application/xml" });
        response.end(`<Error><Code>${code}</Code><Message>the key sesame is wrong</Message></Error>`);
      });
    });
    const reply = verb === "put" ? store.put("key", "[]", "application/json") : store.get("key", 10);
    await expect(reply).rejects.toMatchObject(error);
    close();
  },
  40_000,
);
