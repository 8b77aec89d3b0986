/** The order of test files, and how `--shard=n/m` divides them. */
import { relative } from "node:path";
import { BaseSequencer } from "vitest/node";
import type { TestSpecification } from "vitest/node";

/** Seconds that a file takes beside others on two cores, where it is more than seven. Only order depends on it. */
const SECONDS: Record<string, number> = {
  "chaos/chaos.deep.test.ts": 105,
  "chaos/neighbours.deep.test.ts": 85,
  "edge/fuzz/definitions.deep.test.ts": 45,
  "edge/fuzz/fuzz-second-half.deep.test.ts": 40,
  "edge/fuzz/fuzz.deep.test.ts": 40,
  "flow/kills.deep.test.ts": 30,
  "local/killed-processes.deep.test.ts": 30,
  "local/limits.deep.test.ts": 100,
  "shared/queue/mutations.test.ts": 80,
  "shared/queue/model.deep.test.ts": 110,
  "shared/queue/model-second-half.deep.test.ts": 110,
  "simulation/contract.deep.test.ts": 60,
  "simulation/mutations.test.ts": 20,
  "simulation/simulation.deep.test.ts": 60,
  "worker-node/random-definitions/random-definitions.deep.test.ts": 65,

  "host/browser.test.ts": 95,
  "host/image.test.ts": 26,
  "host/pgbouncer.test.ts": 24,
  "host/postgres.test.ts": 33,
  "host/restore.test.ts": 56,
  "host/seed-snippets.test.ts": 40,

  "edge/away-workerd.test.ts": 22,
  "edge/away.test.ts": 15,
  "edge/chat/turns.test.ts": 12,
  "edge/clients/kept-redis.test.ts": 8,
  "edge/http/openapi.test.ts": 10,
  "edge/http/route-access.test.ts": 7,
  "edge/runs/batches.test.ts": 8,
  "edge/runs/scale-mode.test.ts": 15,
  "edge/streaming/tenant-feed.test.ts": 61,
  "flow/away.test.ts": 52,
  "flow/background-responses.test.ts": 15,
  "flow/branches.test.ts": 11,
  "flow/canary-deployment.test.ts": 8,
  "flow/cancel.test.ts": 31,
  "flow/chat.test.ts": 30,
  "flow/children.test.ts": 14,
  "flow/lanes.test.ts": 67,
  "flow/master-key-rotation.test.ts": 15,
  "flow/mcp-waits.test.ts": 44,
  "flow/provider-keys.test.ts": 17,
  "flow/providers.test.ts": 14,
  "flow/rolling-restart.test.ts": 17,
  "flow/takeover.test.ts": 32,
  "flow/traces.test.ts": 14,
  "flow/webhooks.test.ts": 11,
  "local/edge.test.ts": 12,
  "local/killed-processes.test.ts": 13,
  "local/limits.test.ts": 85,
  "local/start.test.ts": 38,
  "local/stores-and-children.test.ts": 45,
  "shared/queue/model.test.ts": 14,
  "shared/queue/shares.test.ts": 13,
  "shared/schedules/cron.test.ts": 14,
  "shared/store/query-plans.test.ts": 7,
  "simulation/simulation.test.ts": 10,
  "worker-node/engine/sandbox-turns.test.ts": 63,
  "worker-node/engine/sandbox.test.ts": 98,
  "worker-node/execution/execute.test.ts": 29,
  "worker-node/fleet/worker.test.ts": 10,
  "worker-node/models/models.test.ts": 9,
  "worker-node/models/reported-errors.test.ts": 37,
  "worker-node/random-definitions/random-definitions.test.ts": 12,
  "worker-node/reconciler/reconciler.test.ts": 10,
  "worker-node/redis-rest/outage.test.ts": 12,
  "worker-node/redis-rest/topologies.test.ts": 8,
  "worker-node/tools/mcp/stdio.test.ts": 8,
  "worker-node/tracing/off.test.ts": 9,
  "worker-node/webhooks/sender.test.ts": 26,
  "workerd/artifacts.test.ts": 56,
  "workerd/generated-client.test.ts": 8,
  "workerd/herd.test.ts": 34,
  "workerd/live-config.test.ts": 40,
  "workerd/idle-intake.test.ts": 37,
  "workerd/periods.test.ts": 42,
  "workerd/requests.test.ts": 7,
  "workerd/seed-snippet.test.ts": 33,
  "workerd/stream.test.ts": 42,
  "workerd/viewers.test.ts": 18,
};
const OTHER_SECONDS = 3;

/**
 * The longest files begin first, so that none is left to run alone at the end. Before them begin files with a process of their own: in the
 * middle each of them ends a process that has loaded its modules for many other files.
 */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const ownProcess = (file: TestSpecification): boolean => file.project.config.isolate;
    const [alone, kept] = [files.filter(ownProcess), files.filter((file) => !ownProcess(file))];
    return [...longestFirst(alone), ...longestFirst(kept)];
  }

  /** Each file, the longest first, goes to the shard that has the least so far: the same division on every machine. */
  override async shard(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { index = 1, count = 1 } = this.ctx.config.shard ?? {};
    const shards = Array.from({ length: count }, () => ({ seconds: 0, files: [] as TestSpecification[] }));
    for (const file of longestFirst(files)) {
      const least = shards.reduce((a, b) => (b.seconds < a.seconds ? b : a));
      least.files.push(file);
      least.seconds += secondsOf(file);
    }
    return shards[index - 1]?.files ?? [];
  }
}

function longestFirst(files: readonly TestSpecification[]): TestSpecification[] {
  return files.toSorted((a, b) => secondsOf(b) - secondsOf(a) || (a.moduleId < b.moduleId ? -1 : 1));
}

function secondsOf({ moduleId }: TestSpecification): number {
  return SECONDS[relative("test", moduleId)] ?? OTHER_SECONDS;
}
