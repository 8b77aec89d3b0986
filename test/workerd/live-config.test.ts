/** Changes of `/scale/config` that act without a restart: docs/protocol.md 7.19. The edge is workerd, the worker a process, and each bucket a store that checks signatures. */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { freePort } from "../../local/processes/free-ports.ts";
import { createObjectStore } from "../../worker-node/clients/s3-object-store.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { ageEnd, archivePass } from "../services/archive.ts";
import { builtWorker } from "../services/built-worker.ts";
import { startCollector } from "../services/otlp/collector.ts";
import type { Collector } from "../services/otlp/collector.ts";
import { spawnWorker } from "../services/worker-process.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import { startEdge } from "./edge.ts";
import type { Edge } from "./edge.ts";

const BUCKET = "synapse-artifacts";
const WAIT = { timeout: 60_000, interval: 200 };

let edge: Edge;
/** Its bucket is the one of the settings. */
let other: Edge;
let worker: WorkerProcess;

beforeAll(async () => {
  [edge, other] = await Promise.all([startEdge(1, { EGRESS_ALLOW: "127.0.0.1" }), startEdge()]);
  const variables = {
    REDIS_URL: edge.stores.service.url,
    SCALE_POSTGRES_URL: edge.stores.postgresUrl,
    WORKER_HEALTH_PORT: "0",
    MASTER_KEY,
    S3_ENDPOINT: edge.s3.endpoint,
    S3_BUCKET: BUCKET,
    S3_ACCESS_KEY_ID: edge.s3.accessKeyId,
    S3_SECRET_ACCESS_KEY: edge.s3.secretAccessKey,
  };
  worker = spawnWorker("a", variables, await builtWorker("real"));
  await worker.untilLogged("worker.ready");
  const define = async (id: string, code: string) => {
    const steps = [{ id: "a", name: "A", type: "transform", transform_code: code, output_key: "big" }];
    const body = { name: id, entry_step_id: "a", steps };
    expect((await edge.call("PUT", `/api/v2/orchestrations/${id}`, { body })).status).toBe(200);
  };
  await define("orch_large", `result = "x".repeat(40000)`);
  await define("orch_fails", "result = null.x");
}, 120_000);
afterAll(async () => {
  await worker.stop("SIGKILL");
  await Promise.all([edge.stop(), other.stop()]);
});
afterEach(async () => {
  const names = ["OTLP_ENDPOINT", "OTLP_HTTP_ENDPOINT", ...Object.keys(s3())];
  expect(await patch(Object.fromEntries(names.map((name) => [name, null])))).toBe(200);
  // Else the worker could still have the settings of this test, and the same ones of the next test would be no change.
  await expect.poll(() => lastLine("settings.changed")?.["names"] ?? "", WAIT).toBe("");
});

/** The worker's last line with this event. */
const lastLine = (event: string) => worker.lines.findLast((line) => line["event"] === event);
const patch = async (body: object): Promise<number> =>
  (await edge.call("PATCH", "/scale/config", { body })).status;
const s3 = () => ({
  S3_ENDPOINT: other.s3.endpoint,
  S3_BUCKET: BUCKET,
  S3_REGION: "auto",
  S3_ACCESS_KEY_ID: other.s3.accessKeyId,
  S3_SECRET_ACCESS_KEY: other.s3.secretAccessKey,
});
const bucketOf = ({ s3: { endpoint, ...credentials } }: Edge) =>
  createObjectStore({ endpoint, bucket: BUCKET, region: "auto", credentials });
async function keysIn(of: Edge, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const page of bucketOf(of).list(prefix)) keys.push(...page.map(({ key }) => key));
  return keys;
}
async function upload(bytes: Uint8Array<ArrayBuffer>): Promise<{ id: string; url: string }> {
  const answer = await fetch(`${edge.base}/api/v2/uploads?tenant_id=acme&name=a.bin`, {
    method: "POST",
    headers: { authorization: `Bearer ${edge.platformKey}`, "content-type": "application/octet-stream" },
    body: bytes,
  });
  expect([answer.status, await answer.clone().text()]).toEqual([201, expect.anything()]);
  return z.object({ id: z.string(), url: z.string() }).parse(await answer.json());
}
const bytesAt = async (url: string, headers: Record<string, string> = {}) =>
  Buffer.from(await (await edge.call("GET", url, { headers })).arrayBuffer());
const isIn = async (of: Edge, { id }: { id: string }) =>
  (await keysIn(of, "acme/uploads/")).includes(`acme/uploads/${id}`);

async function startRun(orchestration: string): Promise<RunId> {
  const body = { message: "m", tenant_id: "acme" };
  const started = await edge.call("POST", `/api/v2/orchestrations/${orchestration}/run`, { body });
  return z.object({ run_id: RunId }).parse(await started.json()).run_id;
}
async function ended(run: RunId) {
  const path = `/api/v2/orchestrations/runs/${run}`;
  await expect.poll(async () => (await edge.call("GET", `${path}/result`)).status, WAIT).toBe(200);
  return z.looseObject({ status: z.string() }).parse(await (await edge.call("GET", `${path}/result`)).json());
}
/** Changes settings, and waits until the reply to a beat has brought the change to the worker, which logs it with these fields. */
async function patchUntil(body: object, event: string, fields: object): Promise<void> {
  expect(await patch(body)).toBe(200);
  await expect.poll(() => lastLine(event), WAIT).toMatchObject(fields);
}

describe("the settings of the object store", () => {
  // Fails when an edge reads and writes its binding alone, whatever the settings say.
  test("send uploads of the edge to the new bucket, and back; what is in either stays readable", async () => {
    const bytes = new Uint8Array(randomBytes(600_000));
    const before = await upload(bytes);
    expect(await patch(s3())).toBe(200);
    const during = await upload(bytes);
    expect([await isIn(edge, during), await isIn(other, during)]).toEqual([false, true]);
    for (const { url } of [before, during]) expect((await bytesAt(url)).equals(bytes)).toBe(true);
    expect((await bytesAt(during.url, { range: "bytes=10-19" })).equals(bytes.subarray(10, 20))).toBe(true);
    const head = await edge.call("HEAD", during.url, { headers: { "accept-encoding": "identity" } });
    expect(Object.fromEntries(head.headers)).toMatchObject({
      "content-length": "600000",
      "content-type": "application/octet-stream",
      etag: expect.stringMatching(/^".+"$/),
    });
    const empty = await upload(new Uint8Array());
    expect([(await bytesAt(empty.url)).length, await isIn(other, empty)]).toEqual([0, true]);
    expect((await edge.call("DELETE", `/api/v2/uploads/${during.id}`)).ok).toBe(true);
    expect(await isIn(other, during)).toBe(false);
    expect(await patch(Object.fromEntries(Object.keys(s3()).map((name) => [name, null])))).toBe(200);
    expect(await isIn(edge, await upload(bytes))).toBe(true);
  });

  // Fails when a change cuts off what is under way.
  test("let a download end that has begun in the bucket before", async () => {
    const size = 24 * 1024 * 1024;
    const bytes = new Uint8Array(randomBytes(size));
    expect(await patch(s3())).toBe(200);
    const { url } = await upload(bytes);
    const answer = await edge.call("GET", url, { headers: { "accept-encoding": "identity" } });
    const reader = answer.body?.getReader();
    let received = (await reader?.read())?.value?.length ?? 0;
    expect(await patch(Object.fromEntries(Object.keys(s3()).map((name) => [name, null])))).toBe(200);
    expect((await edge.call("GET", "/scale/config")).status).toBe(200);
    for (;;) {
      const part = await reader?.read();
      if (part === undefined || part.done) break;
      received += part.value.length;
    }
    expect(received).toBe(size);
  });

  // Fails when a worker keeps the bucket with which it was started, or an edge reads archived journals from its binding alone.
  test("act on a worker without a restart: large values and archived journals go to the new bucket and are read there", async () => {
    await patchUntil(s3(), "object_store.changed", { origin: "setting" });
    const run = await startRun("orch_large");
    const { output } = z.looseObject({ output: z.object({ url: z.string() }) }).parse(await ended(run));
    const prefix = `acme/${run}/`;
    expect([(await keysIn(edge, prefix)).length, (await keysIn(other, prefix)).length > 0]).toEqual([
      0,
      true,
    ]);
    expect(JSON.parse((await bytesAt(output.url)).toString())).toBe("x".repeat(40_000));
    const listed = await edge.call("GET", `/api/v2/orchestrations/runs/${run}/artifacts`);
    const names = z.object({ data: z.array(z.object({ content_type: z.string(), url: z.string() })) });
    expect(names.parse(await listed.json()).data).toContainEqual({
      content_type: "application/json",
      url: output.url,
    });
    const failed = await startRun("orch_fails");
    expect((await ended(failed)).status).toBe("failed");
    await ageEnd(edge.stores.sql, failed);
    const stream = async () =>
      (await edge.call("GET", `/api/v2/orchestrations/runs/${failed}/stream`)).text();
    const live = await stream();
    expect(await archivePass(edge.stores.sql, bucketOf(other))).toBeGreaterThan(0);
    expect(await stream()).toBe(live);
  }, 120_000);

  test("are those of test-s3", async () => {
    expect(await patch(s3())).toBe(200);
    expect(await (await edge.call("POST", "/scale/test-s3")).text()).toContain('"ok"');
  });

  // Fails when a typing error is saved: every run with a large value would fail until it is repaired.
  test.each([
    ["S3_SECRET_ACCESS_KEY", "canary-of-the-secret", /secret access key is wrong.*SignatureDoesNotMatch/],
    ["S3_ACCESS_KEY_ID", "another", /does not let this key/],
    ["S3_BUCKET", "another", /no such bucket/],
    ["S3_ENDPOINT", async () => `http://127.0.0.1:${await freePort(0)}`, /cannot be reached/],
  ])("with a wrong %s are a 422 at it, and nothing is saved", async (path, value, message) => {
    const wrong = typeof value === "string" ? value : await value();
    const answer = await edge.call("PATCH", "/scale/config", { body: { ...s3(), [path]: wrong } });
    expect([answer.status, await answer.json()]).toEqual([
      422,
      expect.objectContaining({ errors: [{ path, message: expect.stringMatching(message) }] }),
    ]);
    expect(await edge.stores.sql`select from settings`).toHaveLength(0);
    expect(edge.logs() + JSON.stringify(worker.lines)).not.toContain("canary");
  });
});

describe("the collector of the settings", () => {
  let collectors: [Collector, Collector];
  beforeAll(async () => {
    collectors = [await startCollector(), await startCollector()];
  });
  afterAll(() => {
    for (const collector of collectors) collector.stop();
  });
  const to = ({ grpcUrl, httpUrl }: Collector) => ({ OTLP_ENDPOINT: grpcUrl, OTLP_HTTP_ENDPOINT: httpUrl });
  /** Starts runs until the collector has spans of one of them from both processes. */
  async function untilTraced({ spans }: Collector): Promise<void> {
    await expect
      .poll(async () => {
        const run = await startRun("orch_large");
        await ended(run);
        return new Set(
          spans
            .filter(({ attributes }) => attributes["synapse.run.id"] !== undefined)
            .map(({ service }) => service),
        );
      }, WAIT)
      .toEqual(new Set(["synapse-edge", "synapse-worker"]));
  }

  // Fails when tracing is what it was at the start of the process.
  test("gets the spans of edge and worker, the next one after it, and `off` ends tracing", async () => {
    const [first, second] = collectors;
    expect(await patch(to(first))).toBe(200);
    await untilTraced(first);
    expect(await patch(to(second))).toBe(200);
    await untilTraced(second);
    const { length } = first.spans;
    await ended(await startRun("orch_large"));
    await patchUntil({ OTLP_ENDPOINT: "off" }, "tracing.ended", {});
    const traced = async () =>
      (
        await edge.call("POST", "/api/v2/orchestrations/orch_large/run", { body: { message: "m" } })
      ).headers.get("traceparent");
    await expect.poll(traced, WAIT).toBeNull();
    expect(first.spans).toHaveLength(length);
  }, 120_000);
});
