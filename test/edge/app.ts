/** The app in this process, on real stores: for behaviour that does not depend on the Workers runtime. */
import { z } from "zod";
import { createApp } from "../../edge/app.ts";
import { readConfig } from "../../edge/env.ts";
import { batchSubmits } from "../../edge/intake/shard.ts";
import { queueOf } from "../../edge/runs/admit.ts";
import { liveValuesOf } from "../../edge/clients/live-values.ts";
import { openServices } from "../../edge/services.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { MemoryBucket } from "../services/memory-bucket.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { TestFeeds, TestRelay } from "./test-relay.ts";
import { SMOKE, startTestStores, type TestStores } from "./test-stores.ts";

export type CallOptions = {
  /** Null: no key. Absent: the platform key. */
  key?: string | null;
  body?: unknown;
  headers?: Record<string, string>;
};

export type TestApp = {
  stores: TestStores;
  /** The bucket of archived journals. */
  bucket: MemoryBucket;
  platformKey: string;
  app: ReturnType<typeof createApp>;
  call(method: string, path: string, options?: CallOptions): Promise<Response>;
  /** From now on requests meet an edge with these variables, beside those of the stores. */
  redeploy(vars: Record<string, string>): void;
  /** Waits for the work that continues after the responses. */
  settled(): Promise<void>;
  stop(): Promise<void>;
};

/** `vars` override the Worker's variables. `database`: as for `startTestStores`. */
export async function startApp(
  vars: Record<string, string> = {},
  database?: Promise<string>,
): Promise<TestApp> {
  const stores = await startTestStores(1, database);
  const platformKey = await stores.key(null);
  const pending: Promise<unknown>[] = [];
  const bucket = new MemoryBucket();
  const readBytes = (...range: Parameters<typeof bucket.readRange>) =>
    bucket.readRange(...range).catch((cause: unknown) => {
      throw new AppError("artifacts_away", "The object store cannot be reached.", {
        cause,
        retryAfterSeconds: 2,
      });
    });
  const relays = new TestRelay(stores.sql, readBytes);
  const feeds = new TestFeeds(stores.sql);
  // One pool instead of a connection for each request: unlike workerd, Node does not close it with the request.
  const app = createApp((env, waitUntil) => {
    const services = openServices(env, waitUntil);
    return Object.defineProperties(services, {
      sql: { value: stores.sql },
      artifacts: { value: { ...services.artifacts, readBytes } },
      // Node has no store that these tests would reach; test/workerd has.
      tryS3: { value: async () => {} },
      refreshLiveValues: {
        value: (tenant: TenantId | null) =>
          liveValuesOf(readConfig(env)).refresh((run) => run(stores.sql), tenant, waitUntil),
      },
      relay: { value: relays.open },
      feed: { value: feeds.open },
      stateSql: { value: stores.sql },
    });
  });
  const variables = { ...stores.vars, ...vars };
  const config = readConfig(variables);
  const intake = batchSubmits({
    config,
    queue: queueOf(config),
    query: (run) => run(stores.sql),
    waitUntil: (work) => void pending.push(work),
  });
  const submit = (runs: NewRun[]) => Promise.all(runs.map((run) => intake.add(run)));
  let env = { ...variables, INTAKE: { getByName: () => ({ submit }) } };
  const context = {
    waitUntil: (work: Promise<unknown>) => void pending.push(work),
    passThroughOnException() {},
    props: {},
  };

  const call: TestApp["call"] = async (method, path, { key = platformKey, body, headers = {} } = {}) =>
    app.request(
      path,
      {
        method,
        headers: {
          ...(key !== null && { authorization: `Bearer ${key}` }),
          ...(body !== undefined && { "content-type": "application/json" }),
          ...headers,
        },
        ...(body !== undefined && { body: isSentAsItIs(body) ? body : JSON.stringify(body), duplex: "half" }),
      },
      env,
      context,
    );

  const saved = await call("PUT", "/api/v2/orchestrations/orch_smoke", { body: SMOKE });
  if (!saved.ok) throw new Error(`PUT returned ${saved.status}: ${await saved.text()}`);
  return {
    stores,
    bucket,
    platformKey,
    app,
    call,
    redeploy(changed) {
      env = { ...stores.vars, ...changed, INTAKE: env.INTAKE };
    },
    async settled() {
      await Promise.all(pending.splice(0));
    },
    async stop() {
      relays.stop();
      feeds.stop();
      await Promise.all(pending.splice(0));
      await stores.stop();
    },
  };
}

function isSentAsItIs(body: unknown): body is string | Uint8Array<ArrayBuffer> | ReadableStream {
  return typeof body === "string" || body instanceof Uint8Array || body instanceof ReadableStream;
}

export const RUN = "/api/v2/orchestrations/orch_smoke/run";
export const runPath = (run: string, rest: string) => `/api/v2/orchestrations/runs/${run}/${rest}`;

export async function startRun(app: TestApp, options: CallOptions = {}): Promise<string> {
  const response = await app.call("POST", RUN, { body: { message: "hi" }, ...options });
  if (response.status !== 202) throw new Error(`POST returned ${response.status}: ${await response.text()}`);
  return RunId.parse((await bodyOf(response)).run_id);
}

export async function bodyOf(response: Response): Promise<Record<string, unknown>> {
  return z.record(z.string(), z.unknown()).parse(await response.json());
}

/** The errors of a problem response that has them, each with its field. */
export async function errorsOf(response: Response): Promise<{ path: string; message: string }[]> {
  const errors = z.array(z.object({ path: z.string(), message: z.string() }));
  return errors.parse((await bodyOf(response)).errors);
}
