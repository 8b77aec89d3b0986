/** Large values and files, from a worker through the S3 endpoint of the bucket to the edge's binding of it. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { createObjectStore } from "../../worker-node/clients/s3-object-store.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { ageEnd, archivePass } from "../services/archive.ts";
import { builtWorker } from "../services/built-worker.ts";
import { spawnWorker } from "../services/worker-process.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { ProviderServer } from "../worker-node/models/provider-server.ts";
import { describeChatFiles } from "./chat-files.ts";
import { startEdge, type Edge } from "./edge.ts";
import { describeFiles, fileDefinitions } from "./files.ts";
import { attachedDefinitions, describeUploads } from "./uploads.ts";

const BUCKET = "synapse-artifacts";
const LARGE = "x".repeat(40_000);

const provider = new ProviderServer();
let edge: Edge;
let worker: WorkerProcess;
let run: string;
let refs: Record<string, { url: string; size: number }>;

const Reference = z.object({ $ref: z.string(), url: z.string(), size: z.number() });
const Result = z.looseObject({ output: Reference, final_state: z.looseObject({ big: Reference }) });
const get = (path: string, headers: Record<string, string> = {}) => edge.call("GET", path, { headers });

/** The bucket, as a worker reaches it. */
const artifacts = () => {
  const { endpoint, ...credentials } = edge.s3;
  return createObjectStore({ endpoint, bucket: BUCKET, region: "auto", credentials, requestMs: 60_000 });
};

beforeAll(async () => {
  edge = await startEdge();
  await provider.start();
  const variables = {
    REDIS_URL: edge.stores.service.url,
    SCALE_POSTGRES_URL: edge.stores.postgresUrl,
    WORKER_HEALTH_PORT: "0",
    MASTER_KEY,
    EGRESS_ALLOW: "127.0.0.1",
    OPENAI_COMPATIBLE_BASE_URL: `${provider.url}/v1`,
    S3_ENDPOINT: edge.s3.endpoint,
    S3_BUCKET: BUCKET,
    S3_ACCESS_KEY_ID: edge.s3.accessKeyId,
    S3_SECRET_ACCESS_KEY: edge.s3.secretAccessKey,
  };
  worker = spawnWorker("a", variables, await builtWorker("real"));
  await worker.untilLogged("worker.ready");
  const step = {
    id: "a",
    name: "A",
    type: "transform",
    transform_code: `result = "x".repeat(40000)`,
    output_key: "big",
  };
  const body = { name: "Large", entry_step_id: "a", steps: [step] };
  expect((await edge.call("PUT", "/api/v2/orchestrations/orch_large", { body })).status).toBe(200);
  for (const [id, definition] of Object.entries({ ...attachedDefinitions, ...fileDefinitions })) {
    const saved = await edge.call("PUT", `/api/v2/orchestrations/${id}`, { body: definition });
    expect([saved.status, await saved.text()]).toEqual([200, expect.anything()]);
  }
  const started = await edge.call("POST", "/api/v2/orchestrations/orch_large/run", {
    body: { message: "m", tenant_id: "acme" },
  });
  run = z.object({ run_id: z.string() }).parse(await started.json()).run_id;
  await vi.waitFor(
    async () => expect((await get(`/api/v2/orchestrations/runs/${run}/result`)).status).toBe(200),
    { timeout: 100_000, interval: 100 },
  );
  const result = Result.parse(await (await get(`/api/v2/orchestrations/runs/${run}/result`)).json());
  refs = { output: result.output, big: result.final_state.big };
});
afterAll(async () => {
  await worker.stop("SIGKILL");
  await edge.stop();
  provider.stop();
});

// Fails when the part that the worker puts over S3 is not what the edge reads through its binding, or the relay reads Postgres alone.
test("an archived run has the same stream, log and result, and a retry brings its journal back", async () => {
  const { sql } = edge.stores;
  const steps = [
    { id: "a", name: "A", type: "transform", transform_code: "result = null.x", output_key: "x" },
  ];
  const body = { name: "Failing", entry_step_id: "a", steps };
  expect((await edge.call("PUT", "/api/v2/orchestrations/orch_failing", { body })).status).toBe(200);
  const started = await edge.call("POST", "/api/v2/orchestrations/orch_failing/run", {
    body: { message: "m", tenant_id: "acme" },
  });
  const archived = RunId.parse(z.object({ run_id: z.string() }).parse(await started.json()).run_id);
  const path = `/api/v2/orchestrations/runs/${archived}`;
  const ended = () =>
    vi.waitFor(async () => expect((await get(`${path}/result`)).status).toBe(200), {
      timeout: 100_000,
      interval: 100,
    });
  await ended();
  await ageEnd(sql, archived);
  const read = () =>
    Promise.all(
      ["stream", "log?format=ndjson", "result"].map(async (rest) => (await get(`${path}/${rest}`)).text()),
    );
  const before = await read();
  expect(before[0]).toContain("orchestration_complete");
  expect(await archivePass(sql, artifacts())).toBe(1);
  expect(await sql`select 1 from journal where run_id = ${archived}`).toEqual([]);
  expect(await read()).toEqual(before);

  expect((await edge.call("POST", `${path}/retry`)).status).toBe(202);
  await ended();
  const [row] = await sql`select attempt, archive_segment, event_seq from runs where run_id = ${archived}`;
  expect(row).toMatchObject({ attempt: 2, archive_segment: null });
  const [tiles] = await sql`select sum(events_n)::int as n from journal where run_id = ${archived}`;
  expect(tiles).toEqual({ n: row?.["event_seq"] });
  const [stream = ""] = await read();
  expect(stream.startsWith(before[0]?.slice(0, before[0].indexOf("orchestration_complete")) ?? "-")).toBe(
    true,
  );
});

describeUploads(
  () => edge,
  async (prefix) => {
    const keys: string[] = [];
    for await (const page of artifacts().list(prefix)) keys.push(...page.map(({ key }) => key));
    return keys;
  },
);

describeChatFiles(() => edge, provider);

describeFiles(
  () => edge,
  () => worker,
  artifacts,
);

describe("a value over 32 KiB", () => {
  // Fails when a reference in the result has no path that opens it.
  test("is opened by its reference in the result, whole", async () => {
    for (const { url, size } of Object.values(refs)) {
      // Without compression, which hides the length.
      const answer = await get(url, { "accept-encoding": "identity" });
      expect(answer.status).toBe(200);
      expect(Object.fromEntries(answer.headers)).toMatchObject({
        "content-type": "application/json",
        "content-length": String(size),
        "content-disposition": expect.stringMatching(/^attachment; filename="[\w.-]+\.json"$/),
        "x-content-type-options": "nosniff",
        "accept-ranges": "bytes",
      });
      expect(await answer.json()).toBe(LARGE);
    }
  });

  test("is opened by every reference in its events, which are those of its stream", async () => {
    const text = await (await get(`/api/v2/orchestrations/runs/${run}/events`)).text();
    const urls = new Set([...text.matchAll(/"url":"([^"]+)"/g)].map(([, url = ""]) => url));
    expect(urls.size).toBeGreaterThan(0);
    for (const url of urls) expect(await (await get(url)).json()).toBe(LARGE);
    const frames = await (await get(`/api/v2/orchestrations/runs/${run}/stream`)).text();
    for (const url of urls) expect(frames).toContain(`"url":"${url}"`);
  });

  test("is in the list of the run, page by page", async () => {
    const Page = z.object({
      data: z.array(z.object({ name: z.string(), url: z.string(), size: z.number() })),
      next_cursor: z.string().nullable(),
    });
    const read = async (query: string) =>
      Page.parse(await (await get(`/api/v2/orchestrations/runs/${run}/artifacts${query}`)).json());
    for (const name of ["b/1.1/set.one", "b/1.1/set.two"]) {
      await artifacts().put(`acme/${run}/${name}`, "[1]", "application/json");
    }
    const all = await read("");
    expect(all.data.map(({ url }) => url)).toContain(refs["big"]?.url);
    expect(await read("?cursor=")).toEqual(all);
    const first = await read("?limit=1");
    const rest = await read(`?cursor=${encodeURIComponent(first.next_cursor ?? "")}`);
    expect([...first.data, ...rest.data]).toEqual(all.data);
  });

  test("is answered in ranges of bytes", async () => {
    const url = refs["big"]?.url ?? "";
    const size = refs["big"]?.size ?? 0;
    const ranged = async (range: string) => {
      const answer = await get(url, { range });
      return [answer.status, answer.headers.get("content-range"), await answer.text()];
    };
    expect(await ranged("bytes=0-2")).toEqual([206, `bytes 0-2/${size}`, '"xx']);
    expect(await ranged(`bytes=${size - 2}-`)).toEqual([206, `bytes ${size - 2}-${size - 1}/${size}`, 'x"']);
    expect(await ranged("bytes=-1")).toEqual([206, `bytes ${size - 1}-${size - 1}/${size}`, '"']);
    const beyond = await get(url, { range: `bytes=${size}-` });
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, `bytes */${size}`]);
    expect(beyond.headers.get("content-type")).toBe("application/problem+json");
    expect(await beyond.json()).toMatchObject({ status: 416, code: "range_not_satisfiable" });
    expect((await ranged("bytes=5-2"))[0]).toBe(200);
    expect((await ranged("bytes=0-1,3-4"))[0]).toBe(200);
    for (const headers of [{}, { range: "bytes=0-2" }, { range: `bytes=${size}-` }]) {
      const head = await edge.call("HEAD", url, { headers });
      expect([head.status, head.headers.get("content-length")]).toEqual([200, String(size)]);
      expect(head.headers.get("content-range")).toBeNull();
    }
  });

  // Fails when a client that resumes a download joins the parts of two files, or when a client that has the file gets it again.
  test("is answered by the conditions that the request has on its ETag", async () => {
    const url = refs["big"]?.url ?? "";
    const etag = (await edge.call("HEAD", url)).headers.get("etag") ?? "";
    expect(etag).toMatch(/^"[^"]+"$/);
    const outcome = async (headers: Record<string, string>) => {
      const answer = await get(url, { "accept-encoding": "identity", ...headers });
      return [answer.status, (await answer.text()).length];
    };
    const size = refs["big"]?.size ?? 0;
    const range = "bytes=0-2";
    expect(await outcome({ range, "if-range": etag })).toEqual([206, 3]);
    const other = ['"other"', `W/${etag}`, "Mon, 01 Jan 2001 00:00:00 GMT"];
    for (const part of other)
      expect([part, await outcome({ range, "if-range": part })]).toEqual([part, [200, size]]);
    for (const had of [etag, `W/${etag}`, "*", `"a,b", ${etag}`]) {
      expect([had, await outcome({ range, "if-none-match": had })]).toEqual([had, [304, 0]]);
    }
    expect(await outcome({ "if-none-match": '"other"' })).toEqual([200, size]);
    expect(await outcome({ range, "if-match": etag })).toEqual([206, 3]);
    const refused = await get(url, { range, "if-match": '"other"' });
    expect([refused.status, await refused.json()]).toMatchObject([
      412,
      { code: "precondition_failed", detail: expect.stringContaining(etag) },
    ]);
  });

  // Fails when the run's tenant is not compared, or when a name leads out of the run.
  test("does not exist for another tenant, without the scope, or under another run's name", async () => {
    const url = refs["big"]?.url ?? "";
    const [globex, acme, writer] = await Promise.all([
      edge.stores.key("globex"),
      edge.stores.key("acme", ["runs:read"]),
      edge.stores.key("acme", ["runs:write"]),
    ]);
    const statusOf = async (path: string, key: string) => (await edge.call("GET", path, { key })).status;
    expect(await statusOf(url, acme)).toBe(200);
    expect(await statusOf(url, globex)).toBe(404);
    expect(await statusOf(url.slice(0, url.lastIndexOf("/")), globex)).toBe(404);
    expect(await statusOf(url, writer)).toBe(403);
    await artifacts().put("acme/secret", '"theirs"', "application/json");
    const base = url.slice(0, url.lastIndexOf("/") + 1);
    for (const name of [
      "..~secret",
      ".~..~secret",
      "%2e%2e~secret",
      "..%2Fsecret",
      "~secret",
      "a~~b",
      "none",
    ]) {
      expect(await statusOf(base + name, acme)).toBe(404);
    }
  });
});

// Fails when the edge reads a value into memory before it answers: ten of them would not fit into an isolate.
test("a value of 48 MiB is passed on as it arrives", async () => {
  const size = 48 * 1024 * 1024;
  await artifacts().put(`acme/${run}/a/1.1/huge`, `"${"y".repeat(size - 2)}"`, "application/json");
  const answer = await get(`/api/v2/orchestrations/runs/${run}/artifacts/a~1.1~huge`);
  let bytes = 0;
  let largest = 0;
  for await (const chunk of answer.body ?? []) {
    bytes += chunk.length;
    largest = Math.max(largest, chunk.length);
  }
  expect(bytes).toBe(size);
  expect(largest).toBeLessThan(8 * 1024 * 1024);
});
