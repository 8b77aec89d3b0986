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
