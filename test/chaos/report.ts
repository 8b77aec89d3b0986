/** The report of a chaos run: a table of figures, and for each broken promise the runs and faults that belong to it. */
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Violation } from "./checks/violation.ts";
import type { Evidence, Takeover } from "./evidence.ts";
import type { Fault, FaultLog } from "./fault-log.ts";
import { pointNames, points } from "./points.ts";
import type { Point } from "./points.ts";
import type { System } from "./system.ts";

/** Most runs for each broken promise, and most faults for each run. */
const SHOWN = 4;
const FAULTS = 20;

export function table(evidence: Evidence, faults: FaultLog, hits: readonly Point[], deaths: number): string {
  const statuses = Map.groupBy(evidence.runs, ({ status }) => status);
  const accepted = evidence.requests.filter((request) => request.accepted.length > 0).length;
  const calls = [...evidence.calls.values()];
  const rows: [string, string | number][] = [
    ["requests / accepted", `${evidence.requests.length} / ${accepted}`],
    ["runs", evidence.runs.length],
    ...Array.from(statuses, ([status, runs]): [string, number] => [`  ${status}`, runs.length]),
    ["  retried", evidence.journal.filter(({ kind }) => kind === "rewind").length],
    ["  attempts", evidence.runs.reduce((sum, { attempt }) => sum + attempt, 0)],
    ["questions / answers accepted", `${questions(evidence)} / ${evidence.acceptedAnswers.length}`],
    ["webhooks due / requests", `${evidence.deliveries.length} / ${evidence.webhookRequests.length}`],
    ["events", evidence.runs.reduce((sum, { event_seq }) => sum + event_seq, 0)],
    [
      "viewers / frames",
      `${evidence.viewings.length} / ${evidence.viewings.reduce((sum, { frames }) => sum + frames.length, 0)}`,
    ],
    [
      "keys / calls outside",
      `${calls.length} / ${calls.reduce((sum, { answered, refused, cut }) => sum + answered + refused + cut, 0)}`,
    ],
    ["deaths of workers", deaths],
    ["takeovers, calm", quantiles(evidence.takeovers.filter(({ calm }) => calm))],
    ["takeovers, all", quantiles(evidence.takeovers)],
    ["slowest takeover", slowest(evidence.takeovers)],
    [
      "longest stall without a fault",
      `${Math.round(Math.max(0, ...evidence.stalls.map(({ ms }) => ms)))} ms`,
    ],
    ...[...faults.countByKind()]
      .toSorted(([a], [b]) => a.localeCompare(b))
      .map(([kind, count]): [string, number] => [`fault ${kind}`, count]),
    ...pointNames.map((point): [string, string] => [
      `point ${point}`,
      hits.includes(point)
        ? `reached ${hits.filter((hit) => hit === point).length}`
        : `NOT REACHED: ${points[point]}`,
    ]),
  ];
  return rows.map(([what, figure]) => `${what.padEnd(34)} ${figure}`).join("\n");
}

function questions({ journal }: Evidence): number {
  return journal.filter(({ kind, events }) => kind === "park" && events.includes('"human_input_required"'))
    .length;
}

function slowest(takeovers: readonly Takeover[]): string {
  const last = takeovers.toSorted((a, b) => a.ms - b.ms).at(-1);
  return last ? `${last.run}, the worker died at ${clock(last.diedMs)}` : "none";
}

function quantiles(takeovers: readonly Takeover[]): string {
  const ms = takeovers.map((takeover) => takeover.ms).toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Math.round(ms[Math.min(ms.length - 1, Math.floor(ms.length * share))] ?? 0);
  return `${ms.length}: p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} ms`;
}

/** Each broken promise with the first runs that broke it, their journals, and the faults during their time. */
export function describeViolations(
  violations: readonly Violation[],
  evidence: Evidence,
  faults: FaultLog,
): string {
  const promises = Map.groupBy(violations, ({ promise }) => promise);
  return Array.from(promises, ([promise, group]) => {
    const shown = group.slice(0, SHOWN).map((violation) => describeViolation(violation, evidence, faults));
    return [`\n### ${promise}: broken ${group.length} times`, ...shown].join("\n");
  }).join("\n");
}

function describeViolation(
  { detail, run }: Violation,
  { journal, runs, requests }: Evidence,
  faults: FaultLog,
): string {
  if (run === null) return `- ${detail}`;
  const entries = journal.filter(({ run_id }) => run_id === run);
  const row = runs.find(({ run_id }) => run_id === run);
  const from = row?.queued_ms ?? entries[0]?.at_ms ?? Number(run.slice(-13));
  const to = Math.max(from, entries.at(-1)?.at_ms ?? from);
  const request = requests.find(({ id }) => id === row?.correlation_id);
  return [
    `- ${run}: ${detail}`,
    `    row ${JSON.stringify(row)}`,
    `    request ${JSON.stringify(request)}`,
    ...entries.map(
      ({ seq, attempt, kind, step_path, visit, at_ms }) =>
        `    ${clock(at_ms)} ${kind} to ${seq}, attempt ${attempt}, ${step_path ?? "-"} visit ${visit ?? "-"}`,
    ),
    ...faults
      .between(from - 5_000, to + 5_000)
      .slice(-FAULTS)
      .map((fault) => `    ${describeFault(fault)}`),
  ].join("\n");
}

export function describeFault({ kind, detail, fromMs, untilMs }: Fault): string {
  return `${clock(fromMs)} to ${untilMs === null ? "the end" : clock(untilMs)}: ${kind} ${detail}`;
}

function clock(ms: number): string {
  return new Date(ms).toISOString().slice(11, 23);
}

/** Prints the progress: a run takes minutes. */
export function printProgress(what: string): void {
  console.log(`${Math.round(performance.now() / 1_000)} s: ${what}`);
}

/** Writes the logs of all processes of a failed run into a folder, and prints its name. */
export function saveLogs({ workers, edge, rest }: System, seed: number): void {
  const folder = join(tmpdir(), `synapse-chaos-${seed}-logs`);
  const logs: [string, string[]][] = [
    ...workers.map(({ name, programs }): [string, string[]] => [
      name,
      programs.flatMap(({ lines }) => lines),
    ]),
    ["edge", edge.lines],
    ["redis-rest", rest.lines],
  ];
  mkdirSync(folder, { recursive: true });
  for (const [name, lines] of logs) writeFileSync(join(folder, `${name}.log`), lines.join("\n"));
  console.log(`\nThe logs of all processes are in ${folder}`);
}
