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

const PAGE = "<html><body>Sign in</body></html>";

// Fails when the SDK's success counts, which it also reports for a page of a proxy with status 200.
test.each(["put", "putStream"] as const)(
  "an upload by %s whose last reply has no ETag has succeeded only if the store has the object",
  async (verb) => {
    for (const stored of [true, false]) {
      const { store, close } = await storeOf((request, response) => {
        const isBegin = request.url?.includes("uploads=") === true;
        const isPart = request.url?.includes("partNumber=") === true;
        request.resume().on("end", () => {
          if (isPart) response.setHeader("etag", '"e"');
          if (request.method === "HEAD")
            return response.writeHead(stored ? 200 : 404, { "content-length": 9 * 1024 * 1024 }).end();
          if (isBegin)
            return response.end(
              "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
            );
          return response.end(PAGE);
        });
      });
      const reply =
        verb === "put"
          ? store.put("key", "x".repeat(9 * 1024 * 1024), "application/json")
          : store.putStream("key", mebibytes(9), "image/png");
      if (stored) await expect(reply).resolves.toBeUndefined();
      else await expect(reply).rejects.toThrow("the reply to the upload has no ETag");
      close();
    }
  },
);

// Fails when the first bytes of an object are taken for those of the range.
test("a reply that has more than the range of its request is refused, and not read", async () => {
  const { store, close } = await storeOf((_request, response) =>
    response.writeHead(200, { "content-length": 10 }).end("0123456789"),
  );
  expect(Buffer.from(await store.readRange("key", 0, 10)).toString()).toBe("0123456789");
  await expect(store.readRange("key", 5, 3)).rejects.toMatchObject({
    name: "ObjectStoreError",
    why: "refused",
  });
  close();
});

// Fails when the sweep of a bucket never ends.
test("a list whose store sends the same page again is an error", async () => {
  const { store, close } = await storeOf((_request, response) =>
    response.end(
      "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>p/a</Key><Size>1</Size>" +
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>",
    ),
  );
  const pages: number[] = [];
  const all = async () => {
    for await (const page of store.list("p/")) pages.push(page.length);
  };
  await expect(all()).rejects.toThrow("twice");
  expect(pages).toEqual([1]);
  close();
});
