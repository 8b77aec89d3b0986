/**
 * `npm run bench:peers`: this project beside BullMQ, pg-boss, Graphile Worker, DBOS and Restate, and beside the floor, in turn, on
 * fresh stores each. It prints a table in Markdown, and fails when ours lost or repeated a job. docs/performance.md has the method.
 *
 * `-- --peers bullmq,restate` only these peers; `--rounds 3`; `--seconds 5`: about how long each workload of a round lasts.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { startPostgres } from "../../../local/stores/postgres.ts";
import { startRedis } from "../../../local/stores/redis.ts";
import { bullmq } from "./bullmq.ts";
import { verdictText } from "./checks.ts";
import { dbos } from "./dbos.ts";
import { floor } from "./floor.ts";
import { graphileWorker } from "./graphile-worker.ts";
import { ours } from "./ours.ts";
import { installPeers } from "./packages.ts";
import type { Participant } from "./peer.ts";
import { pgBoss } from "./pg-boss.ts";
import { restate } from "./restate.ts";
import { noiseText, tableOf } from "./table.ts";
import { startTool } from "./tool.ts";
import { measure } from "./workloads.ts";
import type { Figures } from "./workloads.ts";

const peers = { bullmq, "pg-boss": pgBoss, "graphile-worker": graphileWorker, dbos, restate };
const PeerName = z.enum(["bullmq", "pg-boss", "graphile-worker", "dbos", "restate"]);
const Options = z.object({
  peers: z
    .string()
    .default(PeerName.options.join(","))
    .transform((list) => list.split(",").filter((name) => name !== ""))
    .pipe(z.array(PeerName)),
  rounds: z.coerce.number().int().min(1).max(20).default(3),
  seconds: z.coerce.number().min(1).max(60).default(5),
});
const { values } = parseArgs({
  options: { peers: { type: "string" }, rounds: { type: "string" }, seconds: { type: "string" } },
});
const options = Options.parse(values);

/** One round of one participant, on stores of its own. @returns its figures, null when a workload did not end */
async function runRound(participant: Participant, seconds: number): Promise<Figures | null> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-peers-"));
  chmodSync(dir, 0o711);
  const tool = await startTool();
  const postgres = await startPostgres({ dir: join(dir, "postgres") });
  const redis = await startRedis({ dir: join(dir, "redis") });
  try {
    const place = { dir, postgresUrl: postgres.url, redisUrl: redis.url, toolUrl: tool.url };
    const running = await participant.start({ place, called: tool.called, postgres, redis });
    try {
      const { figures, verdict } = await measure(running, seconds);
      console.log(`  ${participant.name}: ${verdictText(verdict)}`);
      if (participant === ours && verdict.lost.length + verdict.repeated.length > 0) process.exitCode = 1;
      return figures;
    } finally {
      await running.stop();
    }
  } catch (error) {
    console.error(`  ${participant.name} did not get through:`, error);
    if (participant === ours) process.exitCode = 1;
    return null;
  } finally {
    tool.stop();
    await Promise.all([postgres.stop(), redis.stop()]);
    rmSync(dir, { recursive: true, force: true });
  }
}

if (options.peers.length > 0) installPeers();
const participants = [...options.peers.map((name) => peers[name]), floor, ours];
const figures = new Map<Participant, Figures[]>(participants.map((participant) => [participant, []]));
const load = (): string => (loadavg()[0] ?? 0).toFixed(1);
const loadBefore = load();
for (let round = 1; round <= options.rounds; round++) {
  console.log(`round ${round} of ${options.rounds}`);
  for (const participant of participants) {
    const measured = await runRound(participant, options.seconds);
    if (measured) figures.get(participant)?.push(measured);
  }
}
const columns = [ours, ...options.peers.map((name) => peers[name]), floor].map((participant) => ({
  title: `${participant.name} ${participant.version}`.trim(),
  rounds: figures.get(participant) ?? [],
}));
console.log(`\n${tableOf(columns)}\n`);
console.log(`${noiseText(figures.get(floor) ?? [])}.`);
console.log(
  `${new Date().toISOString().slice(0, 10)}, ${cpus().length} cores (${cpus()[0]?.model ?? "unknown"}), ` +
    `load ${loadBefore} before and ${load()} after, ${options.rounds} rounds of ${options.seconds} s a workload.`,
);
process.exit();
