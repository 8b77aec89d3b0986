/**
 * `npm run chaos -- --minutes N --seed S`: the whole system under faults (fault-phase.ts), then a quiet tenant beside hostile ones
 * (neighbours/phase.ts). `--only faults` and `--only neighbours` run one of the two. `--minutes` is the time of
 * the faults, `--seconds` that of the neighbours, and `--kinds spinning,state` starts only these neighbours.
 *
 * The seed decides the schedule of faults, the load, and the failures of model and tool. It does not decide the timing
 * of the processes, so a seed that failed may have to run a few times until it fails again.
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { runFaultPhase } from "./fault-phase.ts";
import { kindNames } from "./neighbours/kinds.ts";
import { runNeighbourPhase } from "./neighbours/phase.ts";
import { printProgress } from "./report.ts";

const Options = z.object({
  minutes: z.coerce.number("--minutes is a number").min(1).max(600).default(2),
  seed: z.coerce
    .number("--seed is a number")
    .int()
    .default(() => Math.floor(Math.random() * 1e9)),
  short: z.boolean().default(false),
  only: z.enum(["faults", "neighbours", "all"], "--only is faults, neighbours or all").default("all"),
  seconds: z.coerce.number("--seconds is a number").min(5).max(3_600).default(60),
  kinds: z
    .string()
    .transform((names) => names.split(","))
    .pipe(z.array(z.enum(kindNames, `--kinds are names out of ${kindNames.join(", ")}`)))
    .default([...kindNames]),
});

const { values } = parseArgs({
  options: {
    minutes: { type: "string" },
    seed: { type: "string" },
    short: { type: "boolean" },
    only: { type: "string" },
    seconds: { type: "string" },
    kinds: { type: "string" },
  },
});
const options = Options.parse(values);
const { minutes, seed, only } = options;
console.log(`chaos: ${only === "neighbours" ? "" : `${minutes} minutes of faults, `}seed ${seed}`);
const faultPhaseIsGood = only === "neighbours" || (await runFaultPhase(options));
const neighbourPhaseIsGood = only === "faults" || (await runNeighbourPhase(options));
const isGood = faultPhaseIsGood && neighbourPhaseIsGood;
printProgress(isGood ? "all promises kept" : "FAILED");
process.exit(isGood ? 0 : 1);
