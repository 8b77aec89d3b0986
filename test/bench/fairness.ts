/**
 * `npm run bench:fairness`: what a tenant notices of another one's flood, and how exact weights are, at the queue alone.
 *
 * `-- --api` instead: two floods through the API of a whole system, in one orchestration and spread over 1,000. `--jobs N`: smaller ones.
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { floodsOf, pickupsBeside } from "./fairness-api.ts";
import { FLOOD, MOST_RISE_MS, check, p99, report } from "./fairness-report.ts";

const { values } = parseArgs({ options: { api: { type: "boolean" }, jobs: { type: "string" } } });
const { api, jobs } = z
  .object({ api: z.boolean().default(false), jobs: z.coerce.number().int().min(1_000).default(FLOOD) })
  .parse(values);

if (!api) await import("./fairness-queue.ts");
for (const flood of api ? floodsOf(jobs) : []) {
  const { alone, beside } = await pickupsBeside(flood);
  report("pickup of a quiet tenant's run through the API, alone", alone);
  const where =
    flood.over === 1
      ? "in one orchestration"
      : `over ${flood.over} orchestrations, sessions and correlation ids`;
  report(`beside ${jobs} runs of one tenant ${where}`, beside);
  check("rise of its p99", p99(beside) - p99(alone), MOST_RISE_MS, "ms");
}
