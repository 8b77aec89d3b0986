/** The program that executes the jobs of one peer: `worker.ts <peer>`, a child of the bench with `PEER_PLACE` in its environment. */
import { z } from "zod";
import { work as bullmq } from "./bullmq.ts";
import { work as dbos } from "./dbos.ts";
import { work as floor } from "./floor.ts";
import { work as graphileWorker } from "./graphile-worker.ts";
import { work as pgBoss } from "./pg-boss.ts";
import { work as restate } from "./restate.ts";
import { Bench, Gate } from "./work.ts";
import type { Work } from "./work.ts";

const works: Record<string, Work> = {
  floor,
  bullmq,
  "pg-boss": pgBoss,
  "graphile-worker": graphileWorker,
  dbos,
  restate,
};
const Place = z.object({
  dir: z.string(),
  postgresUrl: z.string(),
  redisUrl: z.string(),
  toolUrl: z.string(),
});

const name = process.argv[2] ?? "";
const work = works[name];
if (!work) throw new Error(`there is no peer ${name}; peers: ${Object.keys(works).join(", ")}`);
const bench = new Bench(Place.parse(JSON.parse(process.env["PEER_PLACE"] ?? "null")));
process.on("message", (message) => bench.setOpen(Gate.parse(message).open));
const working = await work(bench);
process.once("disconnect", () => {
  void working.stop().then(() => process.exit(0));
});
process.send?.({ ready: true, port: working.port });
