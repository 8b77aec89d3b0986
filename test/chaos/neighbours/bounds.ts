/** What the quiet tenant may notice of its neighbours, and what else must hold afterwards. */
import { quantile } from "../../bench/stats.ts";
import { broken } from "../checks/violation.ts";
import type { Violation } from "../checks/violation.ts";
import type { ProcessUse } from "./process-watch.ts";
import { kinds } from "./kinds.ts";
import type { Counts } from "./setup.ts";
import type { KindName } from "./kinds.ts";

/** What the quiet tenant measured in one part of the phase. `lost`: accepted runs that did not complete. */
export type Measured = {
  postsMs: number[];
  pickupsMs: number[];
  statusesMs: number[];
  runsMs: number[];
  runs: string[];
  errors: string[];
  lost: string[];
};

type Figure = "postsMs" | "pickupsMs" | "statusesMs" | "runsMs";

/**
 * The goal of a p99 beside neighbours is `times` its p99 alone, `plusMs` more. On two cores the neighbours also take processor
 * time from everything else, and how much depends on the machine. So up to `floorMs` is no failure: each floor is far
 * below what a shared queue, lock or thread without turns makes of it (seconds, up to the time limits of requests).
 */
export const bounds: Record<Figure, { what: string; times: number; plusMs: number; floorMs: number }> = {
  postsMs: { what: "POST", times: 2, plusMs: 0, floorMs: 2_000 },
  pickupsMs: { what: "pickup", times: 1, plusMs: 50, floorMs: 2_500 },
  statusesMs: { what: "GET …/status", times: 2, plusMs: 0, floorMs: 2_000 },
  runsMs: { what: "run, from POST to its last event", times: 2, plusMs: 0, floorMs: 10_000 },
};

export const figures = ["postsMs", "pickupsMs", "statusesMs", "runsMs"] as const satisfies readonly Figure[];

export function goalMs(figure: Figure, alone: Measured): number {
  const { times, plusMs } = bounds[figure];
  return quantile(alone[figure], 0.99) * times + plusMs;
}

/** The error codes of the runs of each kind's tenant. */
export type HostileEnds = ReadonlyMap<KindName, ReadonlySet<string>>;

/**
 * `deaths`: the processes of the system that ended. `processUses`: memory and processor time of each process while the neighbours
 * acted.
 */
export type NeighbourEvidence = {
  alone: Measured;
  beside: Measured;
  feed: string[];
  kinds: readonly KindName[];
  counts: Counts;
  failedClients: string[];
  ends: HostileEnds;
  deaths: string[];
  processUses: readonly ProcessUse[];
};

/** A worker with many runs at their limits has some hundred MiB; work without a bound has taken 1.6 to 4.5 GB. */
const MOST_MIB = 1_400;

const PROMISE = "a quiet tenant does not notice its neighbours";

export function checkNeighbours(evidence: NeighbourEvidence): Violation[] {
  const { alone, beside, feed, deaths, processUses } = evidence;
  return [
    ...[...alone.errors, ...beside.errors, ...feed].map((error) => broken(PROMISE, error)),
    ...[...alone.lost, ...beside.lost].map((run) => broken("202 means it will finish", run)),
    ...figures.flatMap((figure) => tooSlow(figure, alone, beside)),
    ...deaths.map((death) => broken("no tenant ends a process", death)),
    ...processUses
      .filter(({ largestMiB }) => largestMiB > MOST_MIB)
      .map(({ name, largestMiB }) =>
        broken("memory is bounded", `${name} took ${Math.round(largestMiB)} MiB`),
      ),
    ...evidence.kinds.flatMap((kind) => wrongAnswers(kind, evidence.counts)),
    ...evidence.kinds.flatMap((kind) => harmless(kind, evidence)),
    ...evidence.failedClients.map((line) => broken("every harm is tried", line)),
  ];
}

function tooSlow(figure: Figure, alone: Measured, beside: Measured): Violation[] {
  const p99Ms = quantile(beside[figure], 0.99);
  const mostMs = Math.max(goalMs(figure, alone), bounds[figure].floorMs);
  if (p99Ms <= mostMs) return [];
  const aloneMs = quantile(alone[figure], 0.99);
  const detail = `p99 ${Math.round(p99Ms)} ms, alone ${Math.round(aloneMs)} ms, at most ${Math.round(mostMs)} ms`;
  return [broken(PROMISE, `${bounds[figure].what}: ${detail}`)];
}

function wrongAnswers(kind: KindName, counts: Counts): Violation[] {
  const allowed: readonly number[] = [0, ...kinds[kind].answers];
  return Object.entries(counts[kind] ?? {})
    .filter(([status]) => !allowed.includes(Number(status)))
    .map(([status, count]) => broken("every response is expected", `${kind}: ${count} times ${status}`));
}

/** A neighbour that did no harm proves nothing: its requests were answered, and its runs ended as they had to. */
function harmless(kind: KindName, { counts, ends }: NeighbourEvidence): Violation[] {
  const answered = Object.entries(counts[kind] ?? {}).filter(([status]) => status !== "0");
  const missing = kinds[kind].ends.filter((codes) => !codes.some((code) => ends.get(kind)?.has(code)));
  return [
    ...(answered.length === 0 ? [broken("every harm is tried", `${kind}: no request was answered`)] : []),
    ...missing.map((codes) =>
      broken("every harm is tried", `${kind}: no run ended with ${codes.join(" or ")}`),
    ),
  ];
}
