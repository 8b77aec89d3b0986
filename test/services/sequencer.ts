/** The order of test files, and how `--shard=n/m` divides them. */
import { relative } from "node:path";
import { BaseSequencer } from "vitest/node";
import type { TestSpecification } from "vitest/node";

/** Seconds that a file takes on a quiet machine with two cores, where it is more than five. Only order depends on it. */
const SECONDS: Record<string, number> = {
  "chaos/chaos.deep.test.ts": 105,
  "chaos/neighbours.deep.test.ts": 85,
  "edge/fuzz/definitions.deep.test.ts": 45,
  "edge/fuzz/fuzz-second-half.deep.test.ts": 40,
  "edge/fuzz/fuzz.deep.test.ts": 40,
  "flow/kills.deep.test.ts": 30,
  "local/killed-processes.deep.test.ts": 30,
  "local/limits.deep.test.ts": 115,
  "shared/queue/mutations.test.ts": 80,
  "shared/queue/model.deep.test.ts": 110,
  "shared/queue/model-second-half.deep.test.ts": 110,
  "simulation/contract.deep.test.ts": 60,
  "simulation/mutations.test.ts": 20,
  "simulation/simulation.deep.test.ts": 60,
  "worker-node/random-definitions/random-definitions.deep.test.ts": 65,

  "edge/away.test.ts": 15,
  "edge/away-workerd.test.ts": 18,
  "edge/streaming/tenant-feed.test.ts": 11,
  "flow/away.test.ts": 75,
  "flow/cancel.test.ts": 10,
  "flow/rolling-restart.test.ts": 17,
  "flow/takeover.test.ts": 50,
  "flow/webhooks.test.ts": 28,
  "local/limits.test.ts": 24,
  "local/start.test.ts": 27,
  "local/stores-and-children.test.ts": 40,
  "worker-node/redis-rest/outage.test.ts": 9,
  "shared/queue/model.test.ts": 8,
  "shared/queue/shares.test.ts": 16,
  "simulation/contract.test.ts": 8,
  "worker-node/fleet/worker.test.ts": 10,
  "worker-node/reconciler/reconciler.test.ts": 9,
  "worker-node/webhooks/sender.test.ts": 28,
  "workerd/artifacts.test.ts": 34,
  "workerd/herd.test.ts": 40,
  "workerd/seed-snippet.test.ts": 35,
  "workerd/quiet.test.ts": 55,
  "workerd/requests.test.ts": 8,
  "workerd/stream.test.ts": 42,
};
const OTHER_SECONDS = 3;

/** The longest files begin first, so that none is left to run alone at the end. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return longestFirst(files);
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
