import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { startPostgres } from "../../local/stores/postgres.ts";
import type { Service } from "../../local/processes/child.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { startRedis } from "../services/services.ts";
import { SILENT_AFTER_MS } from "../../shared/timing.ts";
import { pace, until } from "../services/waiting.ts";
import { RelayViewers, startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

const STEPS = 4;
const SLOW = {
  name: "Slow",
  entry_step_id: "s0",
  steps: Array.from({ length: STEPS }, (_, i) => ({
    id: `s${i}`,
    name: `s${i}`,
    type: "llm",
    model: "demo/writer",
    prompt_template: "Write.",
    output_key: `k${i}`,
    ...(i + 1 < STEPS && { next_step_id: `s${i + 1}` }),
  })),
};

/** Counts the running runs of each tenant every 25 ms. `stop` ends this and returns the highest count of each tenant. */
function sampleRunning(api: FlowApi): { stop(): Promise<Map<string, number>> } {
  const most = new Map<string, number>();
  const stopped = new AbortController();
  const done = (async () => {
    while (!stopped.signal.aborted) {
      const rows = await api.stores.sql<{ tenant_id: string; n: number }[]>`
        select tenant_id, count(*)::int as n from runs where status = 'running' group by tenant_id`;
      for (const { tenant_id, n } of rows) most.set(tenant_id, Math.max(n, most.get(tenant_id) ?? 0));
      await pace(25);
    }
  })();
  const stop = async () => {
    stopped.abort();
    await done;
    return most;
  };
  return { stop };
}

/** Expects that every run has completed, each step once, and that its viewer received byte for byte what the journal holds. */
async function expectComplete(api: FlowApi, runs: readonly string[], seen: Promise<string>[]): Promise<void> {
  for (const [i, run] of runs.entries()) {
    expect([run, await untilEnd(api, run)]).toEqual([run, "completed"]);
    const results = () => api.stores.sql`
      select count(*) filter (where kind in ('step', 'end'))::int as results,
        count(distinct step_path) filter (where kind in ('step', 'end'))::int as steps,
        sum(events_n)::int as events, max(seq) as last
      from journal where run_id = ${run}`;
    // On a busy machine Postgres may end this statement at its time limit: it is sent again.
    const [row] = await vi.waitFor(results, 60_000);
    expect(row).toMatchObject({ results: STEPS, steps: STEPS, events: row?.last });
    // A stream that cannot be read in time ends at once, and asks its client to reconnect.
    let late = "";
    await until("the stream is read to its end", async () => {
      late = await (await api.call("GET", `/api/v2/orchestrations/runs/${run}/stream`)).text();
      return late.includes('"type":"done"');
    });
    expect(`retry: 1000\n\n${withoutComments(await seen[i])}`).toBe(
      `retry: 1000\n\n${withoutComments(late)}`,
    );
  }
}

function withoutComments(text = ""): string {
  return text.replaceAll(/^(: keepalive|retry: 1000)\n\n/gm, "");
}

describe.concurrent("an outage", { timeout: 300_000 }, () => {
  // Fails when accept refuses without a queue, workers do not claim directly, or a claim counts without the lock.
  test("of Redis, after which it is empty: every request is accepted, every run ends, no limit is passed, and viewers miss nothing", async () => {
    const api = await startApi();
    const watch = new RelayViewers(api);
    let back: Service | null = null;
    try {
      await api.define("orchestrations", "slow", SLOW);
      for (const tenant_id of ["acme", "globex"]) {
        await api.call("POST", "/scale/tenants", {
          body: { tenant_id, max_concurrent_runs: 3, max_queued_runs: 100 },
        });
      }
      await Promise.all([api.startWorker("a"), api.startWorker("b")]);
      const sampled = sampleRunning(api);
      const runs: string[] = [];
      const seen: Promise<string>[] = [];
      const startSome = async (n: number) => {
        for (let i = 0; i < n; i++) {
          const run = await api.start("slow", { tenant_id: i % 2 === 0 ? "acme" : "globex" });
          runs.push(run);
          seen.push(watch.view(run));
        }
      };
      await startSome(8);
      await api.until(runs[0] ?? "", ["running", "completed"]);

      const { port } = api.stores.service;
      await api.stores.service.stop();
      await startSome(8);
      // The last run was accepted without a queue, and is claimed without a queue.
      expect(await untilEnd(api, runs.at(-1) ?? "")).toBe("completed");
      await startSome(6);
      back = await startRedis(port);
      await startSome(4);
      await expectComplete(api, runs, seen);
      const most = await sampled.stop();
      // On a busy machine the sampler may meet fewer than run at a time.
      for (const tenant of ["acme", "globex"]) {
        expect(most.get(tenant)).toBeGreaterThan(0);
        expect(most.get(tenant)).toBeLessThanOrEqual(3);
      }
      const empty = { ready: 0, leased: 0, due: 0, reserved: 0 };
      await vi.waitFor(async () => expect(await api.stores.queue.stats(0)).toMatchObject(empty), 60_000);
      expect(api.workers.map((worker) => worker.process.exitCode)).toEqual([null, null]);
    } finally {
      watch.close();
      await api.stop();
      await back?.stop();
    }
  });

  // Fails when a worker gives up a flush, or takes over runs because no worker could beat while Postgres was away.
  test("of Postgres for longer than the silence of a dead worker: no worker ends, no step is lost or repeated, and no run is taken over", async () => {
    const dir = mkdtempSync(join(tmpdir(), "synapse-away-"));
    chmodSync(dir, 0o711); // under root another user runs Postgres, and must be able to enter this folder
    let postgres = await startPostgres({ dir: join(dir, "postgres") });
    const { url, port } = postgres;
    const api = await startApi(migrate(url).then(() => url));
    const watch = new RelayViewers(api);
    try {
      await api.define("orchestrations", "slow", SLOW);
      await Promise.all([api.startWorker("a"), api.startWorker("b")]);
      const runs: string[] = [];
      for (let i = 0; i < 16; i++) runs.push(await api.start("slow"));
      const seen = runs.map((run) => watch.view(run));
      for (const run of runs) await api.until(run, ["running", "completed"]);
      await postgres.stop();
      await pace(SILENT_AFTER_MS + 1_000);
      postgres = await startPostgres({ dir: join(dir, "postgres"), port });
      await vi.waitFor(() => api.stores.sql`select 1`, 60_000);
      await expectComplete(api, runs, seen);
      const rows = await api.stores.sql`select distinct attempt, crash_count from runs`;
      expect([...rows]).toEqual([{ attempt: 1, crash_count: 0 }]);
      expect(api.workers.map((worker) => worker.process.exitCode)).toEqual([null, null]);
    } finally {
      watch.close();
      await api.stop();
      await postgres.stop();
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
