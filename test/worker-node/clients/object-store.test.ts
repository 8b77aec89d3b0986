import { createServer } from "node:http";
import { expect, test } from "vitest";
import { createObjectStore } from "../../../worker-node/clients/object-store.ts";
import { portOf } from "../../../worker-node/ops/health-server.ts";

// Fails when the SDK only warns at its limit, which is its default: the worker would wait without end.
test("a request to an object store that never responds ends after 5 s", async () => {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const credentials = { accessKeyId: "a", secretAccessKey: "b" };
  const endpoint = `http://127.0.0.1:${portOf(server)}`;
  const artifacts = createObjectStore({ endpoint, bucket: "b", region: "auto", credentials, requestMs: 300 });
  await expect(artifacts.put("key", "x".repeat(100_000), "application/json")).rejects.toThrow("300 ms");
  server.closeAllConnections();
  server.close();
}, 40_000);

// Fails when an object is read into memory before its size is compared.
test("an object that is larger than its reader allows is not read", async () => {
  let wasCut = false;
  const server = createServer((_request, response) => {
    response.writeHead(200, { "content-length": "100000000" });
    response.write("x".repeat(1_000));
    response.on("close", () => (wasCut = true));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const credentials = { accessKeyId: "a", secretAccessKey: "b" };
  const endpoint = `http://127.0.0.1:${portOf(server)}`;
  const artifacts = createObjectStore({ endpoint, bucket: "b", region: "auto", credentials });
  expect(await artifacts.get("key", 2_000)).toBeNull();
  await expect.poll(() => wasCut).toBe(true);
  server.closeAllConnections();
  server.close();
}, 40_000);

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
    const server = createServer((request, response) => {
      request.resume();
      request.on("end", () => {
        response.writeHead(status, { "content-type": "application/xml" });
        response.end(`<Error><Code>${code}</Code><Message>the key sesame is wrong</Message></Error>`);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const credentials = { accessKeyId: "a", secretAccessKey: "b" };
    const endpoint = `http://127.0.0.1:${portOf(server)}`;
    const artifacts = createObjectStore({ endpoint, bucket: "b", region: "auto", credentials });
    const made = verb === "put" ? artifacts.put("key", "[]", "application/json") : artifacts.get("key", 10);
    await expect(made).rejects.toMatchObject(error);
    server.closeAllConnections();
    server.close();
  },
  40_000,
);
