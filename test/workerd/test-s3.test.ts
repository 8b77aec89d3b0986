/** `POST /scale/test-s3` for a bucket that is not the edge's own, from workerd. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { Server } from "node:https";
import { createServer as createHttpServer } from "node:http";
import type { Server as HttpServer } from "node:http";
import { join } from "node:path";
import { z } from "zod";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../../local/processes/free-ports.ts";
import { projectFolder } from "../../local/processes/programs.ts";
import { startEdge } from "./edge.ts";
import type { Edge } from "./edge.ts";

let edge: Edge;
let bucket: {
  s3_endpoint_url: string;
  s3_bucket: string;
  s3_access_key_id: string;
  s3_secret_access_key: string;
};
/** How the fake store answers a request of this method. */
let answerTo: (method: string) => { status: number; body?: string; headers?: Record<string, string> };
let store: HttpServer;
let encrypted: Server;

const portOf = (server: HttpServer | Server): number =>
  z.object({ port: z.int() }).parse(server.address()).port;
const listen = (server: HttpServer | Server) =>
  new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const tls = (name: string) => readFileSync(join(projectFolder, "test/local/fixtures/tls", name));

beforeAll(async () => {
  store = createHttpServer((request, response) => {
    request.resume();
    const { status, body, headers } = answerTo(request.method ?? "");
    response.writeHead(status, headers).end(body);
  });
  encrypted = createServer({ cert: tls("server.crt"), key: tls("server.key") }, (_, response) =>
    response.end(),
  );
  await Promise.all([listen(store), listen(encrypted)]);
  edge = await startEdge(1, { EGRESS_ALLOW: "127.0.0.1,localhost,nowhere.invalid" });
  bucket = {
    s3_endpoint_url: edge.s3.endpoint,
    s3_bucket: "synapse-artifacts",
    s3_access_key_id: edge.s3.accessKeyId,
    s3_secret_access_key: edge.s3.secretAccessKey,
  };
});
afterAll(async () => {
  await edge.stop();
  for (const server of [store, encrypted]) await new Promise((resolve) => server.close(resolve));
});

const Outcome = z.object({ status: z.string(), message: z.string() });

async function outcome(change: Partial<typeof bucket> = {}): Promise<z.infer<typeof Outcome>> {
  const response = await edge.call("POST", "/scale/test-s3", { body: { ...bucket, ...change } });
  expect(response.status).toBe(200);
  return Outcome.parse(await response.json());
}

const fake = () => ({ s3_endpoint_url: `http://127.0.0.1:${portOf(store)}` });
const LIST = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
const error = (code: string) =>
  `<?xml version="1.0"?><Error><Code>${code}</Code><Message>canary</Message></Error>`;

test("lists, writes and deletes in the bucket that it names, and leaves nothing there", async () => {
  expect(await outcome()).toEqual({ status: "ok", message: "The store replied." });
  const own = await edge.call("POST", "/scale/test-s3");
  expect(await own.json()).toEqual({ status: "ok", message: "The store replied." });
});

test.for<
  [what: string, change: () => Promise<Partial<typeof bucket>> | Partial<typeof bucket>, message: string]
>([
  [
    "a name that does not resolve",
    () => ({ s3_endpoint_url: "https://nowhere.invalid" }),
    "The host cannot be reached: its name is unknown, or nothing listens on this port.",
  ],
  [
    "a port without a server",
    async () => ({ s3_endpoint_url: `http://127.0.0.1:${await freePort(0)}` }),
    "The host cannot be reached: its name is unknown, or nothing listens on this port.",
  ],
  [
    "a certificate that nobody signed",
    () => ({ s3_endpoint_url: `https://127.0.0.1:${portOf(encrypted)}` }),
    "The connection could not be encrypted.",
  ],
  [
    "a server without TLS",
    () => ({ s3_endpoint_url: `https://127.0.0.1:${portOf(store)}` }),
    "The connection could not be encrypted.",
  ],
  [
    "an unknown key",
    () => ({ s3_access_key_id: "another" }),
    "The store does not let this key list its objects. It answered 401 Unauthorized.",
  ],
  [
    "a wrong secret",
    () => ({ s3_secret_access_key: "another" }),
    "The store refused the signature: the secret access key is wrong. It answered 403 SignatureDoesNotMatch.",
  ],
  [
    "an unknown bucket",
    () => ({ s3_bucket: "another" }),
    "The store has no such bucket. It answered 404 NoSuchBucket.",
  ],
])("the reason of %s is reported", async ([, change, message]) => {
  expect(await outcome(await change())).toEqual({ status: "error", message });
});

test("a refusal of the store is reported by S3's name of the error, without the store's own words", async () => {
  answerTo = () => ({ status: 403, body: error("AccessDenied") });
  const refused = (what: string) => ({ status: "error", message: what });
  const noList = "The store does not let this key list its objects. It answered 403 AccessDenied.";
  expect(await outcome(fake())).toEqual(refused(noList));
  answerTo = (method) =>
    method === "GET" ? { status: 200, body: LIST } : { status: 403, body: error("AccessDenied") };
  const noWrite = "The store does not let this key write an object. It answered 403 AccessDenied.";
  expect(await outcome(fake())).toEqual(refused(noWrite));
  answerTo = (method) => ({ status: method === "DELETE" ? 403 : 200, body: LIST, headers: { etag: '"e"' } });
  const noDelete = "The store does not let this key delete the object that it wrote. It answered 403.";
  expect(await outcome(fake())).toEqual(refused(noDelete));
  answerTo = () => ({ status: 500, body: "canary".repeat(1_000_000) });
  expect(await outcome(fake())).toEqual(refused("The store could not list its objects. It answered 500."));
  answerTo = () => ({ status: 307, headers: { location: edge.s3.endpoint } });
  expect(await outcome(fake())).toEqual(refused("The store redirects to another address. It answered 307."));
});

// Fails when the address of a console, which answers each request with its page, is saved as a store.
test("a page with status 200 is no store", async () => {
  for (const body of ["<html>Console</html>", LIST]) {
    answerTo = () => ({ status: 200, body });
    const { status, message } = await outcome(fake());
    expect([status, message]).toEqual([
      "error",
      expect.stringContaining("This is not the address of a store"),
    ]);
  }
});

test("a refused request connects nowhere", async () => {
  const requests: string[] = [];
  answerTo = (method) => {
    requests.push(method);
    return { status: 200, body: LIST, headers: { etag: '"e"' } };
  };
  const status = async (change: object): Promise<number> =>
    (await edge.call("POST", "/scale/test-s3", { body: { ...bucket, ...fake(), ...change } })).status;
  expect(await status({ s3_endpoint_url: `http://127.0.0.2:${portOf(store)}` })).toBe(403);
  expect(await status({ s3_access_key_id: "" })).toBe(422);
  expect(await status({ s3_bucket: "../other" })).toBe(422);
  expect(requests).toEqual([]);
  expect(await status({})).toBe(200);
  expect(requests).toEqual(["GET", "PUT", "DELETE"]);
});
