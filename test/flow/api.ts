/** The API in this process, on stores of the test's own, with worker processes behind it. */
import { Redis } from "ioredis";
import { test as base } from "vitest";
import { FOLLOWED_REDIS } from "../../edge/clients/redis-settings.ts";
import { LiveFeed } from "../../edge/streaming/live-feed.ts";
import { Relay, RELAY_TIMING } from "../../edge/streaming/relay.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { linesOf } from "../../shared/events/lines.ts";
import { keys } from "../../shared/keys.ts";
import { viewerPage } from "../services/journal-pages.ts";
import { readPositions } from "../../shared/store/runs/read-runs.ts";
import { bodyOf, runPath, startApp } from "../edge/app.ts";
import type { TestApp } from "../edge/app.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { builtWorker } from "../services/built-worker.ts";
import { spawnWorker } from "../services/worker-process.ts";
import type { Timing, WorkerProcess } from "../services/worker-process.ts";
import { until } from "../services/waiting.ts";
import { expectDocumentedEvents } from "./documented-events.ts";

export type FlowApi = TestApp & {
  workers: WorkerProcess[];
  startWorker(id: string, env?: Record<string, string>, timing?: Timing): Promise<WorkerProcess>;
  define(
    kind: "orchestrations" | "agents" | "tools" | "mcp-servers",
    id: string,
    definition: JsonObject,
  ): Promise<void>;
  start(orchestration: string, body?: JsonObject): Promise<string>;
  /** Waits until the run has one of these statuses. @returns that status */
  until(run: string, statuses: readonly string[], ms?: number): Promise<string>;
};

const ENDED = ["completed", "failed", "cancelled"];

/** A test with an API of its own, so that the tests of a file can run at the same time. */
export const apiTest = base.extend<{ api: FlowApi }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads the names of fixtures from a pattern
  api: async ({}, use) => {
    const api = await startApi();
    try {
      await use(api);
    } finally {
      await api.stop();
    }
  },
});

/** `database`: as for `startTestStores`. `vars`: variables of the edge. */
export async function startApi(
  database?: Promise<string>,
  vars: Record<string, string> = {},
): Promise<FlowApi> {
  const app = await startApp({ MASTER_KEY, EGRESS_ALLOW: "127.0.0.1", ...vars }, database);
  const workers: WorkerProcess[] = [];
  return {
    ...app,
    workers,
    async startWorker(id, env = {}, timing = "short") {
      const stores = { REDIS_URL: app.stores.service.url, SCALE_POSTGRES_URL: app.stores.postgresUrl };
      const variables = { ...stores, WORKER_HEALTH_PORT: "0", SHORT_EVENT_LINES: "2", MASTER_KEY, ...env };
      const worker = spawnWorker(id, variables, await builtWorker(timing));
      workers.push(worker);
      await worker.untilLogged("worker.ready");
      return worker;
    },
    async define(kind, id, definition) {
      const answer = await app.call("PUT", `/api/v2/${kind}/${id}`, { body: definition });
      if (!answer.ok) throw new Error(`PUT ${id} answered ${answer.status}: ${await answer.text()}`);
    },
    async start(orchestration, body = {}) {
      const answer = await app.call("POST", `/api/v2/orchestrations/${orchestration}/run`, { body });
      if (answer.status !== 202) throw new Error(`POST answered ${answer.status}: ${await answer.text()}`);
      return String((await bodyOf(answer)).run_id);
    },
    async until(run, statuses, ms = 240_000) {
      let last = "";
      const isReached = async () => {
        last = String((await bodyOf(await app.call("GET", runPath(run, "status")))).status);
        return statuses.includes(last);
      };
      const logged = () => workers.flatMap(({ lines }) => lines.map((line) => JSON.stringify(line)));
      const detail = () => `; it is ${last}\n${logged().slice(-60).join("\n")}`;
      await until(`${run} is ${statuses.join(" or ")}`, isReached, ms, detail);
      return last;
    },
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop("SIGKILL")));
      try {
        await expectDocumentedEvents(app.stores.sql);
      } finally {
        await app.stop();
      }
    },
  };
}

export const untilEnd = (api: FlowApi, run: string, ms?: number) => api.until(run, ENDED, ms);

/** Viewers of runs, served as the edge's relay object serves them. */
export class RelayViewers {
  readonly #relay: Relay;
  readonly #feed: LiveFeed;
  readonly #timer: NodeJS.Timeout;

  constructor({ stores: { sql, service } }: FlowApi) {
    this.#relay = new Relay({
      page: (run, after) => viewerPage(sql, run, after),
      positions: (runs) => readPositions(sql, runs),
    });
    this.#feed = new LiveFeed(() => new Redis(service.url, FOLLOWED_REDIS), keys.live(0), {
      onEntry: (entry) => this.#relay.onEntry(entry),
      onResync: () => this.#relay.resync(),
    });
    void this.#feed.follow();
    this.#timer = setInterval(() => this.#relay.tick(this.#feed.following), RELAY_TIMING.tickMs);
  }

  /** Joins as a viewer that has seen no event. @returns all that it receives, once its stream has ended */
  view(run: string): Promise<string> {
    const viewer = { run: RunId.parse(run), tenant: "", after: 0 };
    return new Response(this.#relay.join(viewer, new AbortController().signal, () => {}).body).text();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#relay.closeAll();
    this.#feed.stop();
  }
}

/** How many events of this type the journal of a run holds. */
export async function count(api: FlowApi, run: string, type: string): Promise<number> {
  const rows = await api.stores.sql<{ events: string }[]>`select events from journal where run_id = ${run}`;
  const lines = rows.flatMap((row) => linesOf(row.events));
  return lines.filter((line) => line.startsWith(`{"type":"${type}"`)).length;
}
