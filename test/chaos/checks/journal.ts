/** The journal of every run: no gap, no second result, one end a life, and charges equal to the usage. */
import { z } from "zod";
import { Checkpoint, EndRecord, RewindRecord } from "../../../shared/contracts/journal-entry.ts";
import { linesOf as completeLines } from "../../../shared/events/lines.ts";
import type { Evidence, JournalRow } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/** docs/protocol.md 14.2: entries tile 1 … event_seq; attempts never fall; a (run, attempt) has one owner. */
export function journalsAreGapFree(evidence: Evidence): Violation[] {
  return forEachRun(evidence, (run, entries) => {
    const found: Violation[] = [];
    let last = 0;
    let attempt = 0;
    for (const entry of entries) {
      if (entry.seq - entry.events_n !== last)
        found.push(
          broken(
            "events are gap-free",
            `after ${last} comes an entry of ${entry.events_n} up to ${entry.seq}`,
            run.run_id,
          ),
        );
      if (entry.events.split("\n").length !== entry.events_n)
        found.push(
          broken(
            "events are gap-free",
            `entry ${entry.seq} has another number of lines than events_n`,
            run.run_id,
          ),
        );
      if (entry.attempt < attempt)
        found.push(
          broken(
            "only the owner writes",
            `attempt ${entry.attempt} wrote after ${attempt}, at ${entry.seq}`,
            run.run_id,
          ),
        );
      last = entry.seq;
      attempt = entry.attempt;
    }
    if (last !== run.event_seq)
      found.push(
        broken(
          "events are gap-free",
          `the journal ends at ${last}, and event_seq is ${run.event_seq}`,
          run.run_id,
        ),
      );
    if (attempt > run.attempt)
      found.push(
        broken(
          "only the owner writes",
          `attempt ${attempt} wrote, and the run has only attempt ${run.attempt}`,
          run.run_id,
        ),
      );
    return [...found, ...oneOwnerAnAttempt(run.run_id, entries)];
  });
}

const Line = z.looseObject({
  type: z.string(),
  worker_id: z.string().optional(),
  attempt: z.number().optional(),
});

function linesOf(entry: JournalRow): z.infer<typeof Line>[] {
  return completeLines(entry.events).map((line) => Line.parse(JSON.parse(line)));
}

function oneOwnerAnAttempt(run: string, entries: JournalRow[]): Violation[] {
  const picked = entries.flatMap(linesOf).filter(({ type }) => type === "worker_picked_up");
  const attempts = picked.map(({ attempt }) => attempt);
  if (new Set(attempts).size === attempts.length) return [];
  return [broken("only the owner writes", `an attempt was picked up twice: ${attempts.join(", ")}`, run)];
}

/** docs/protocol.md 6: a repeated flush is harmless. Lines carry their millisecond, so two entries of a step never have the same events. */
export function nothingIsWrittenTwice(evidence: Evidence): Violation[] {
  return forEachRun(evidence, (run, entries) => {
    const seen = new Map<string, number>();
    return entries.flatMap(({ events, step_path, seq }) => {
      // Two branches may park in one millisecond.
      const written = `${step_path} ${events}`;
      const before = seen.get(written);
      seen.set(written, seq);
      if (before === undefined) return [];
      return [
        broken(
          "an entry is committed once",
          `the events of entry ${before} are also those of entry ${seq}`,
          run.run_id,
        ),
      ];
    });
  });
}

/** docs/protocol.md 14.1: each life ends with exactly one `done`, its last event; the status of the last end is that of the run. */
export function everyLifeEndsOnce(evidence: Evidence): Violation[] {
  return forEachRun(evidence, (run, entries) => {
    const lives = splitLives(entries);
    return lives.flatMap((life, i) => {
      const types = life.flatMap(linesOf).map(({ type }) => type);
      const found: Violation[] = [];
      const done = types.filter((type) => type === "done").length;
      const ends = life.filter(({ kind }) => kind === "end");
      if (done !== 1 || types.at(-1) !== "done" || ends.length !== 1)
        found.push(
          broken(
            "one end a life",
            `life ${i + 1} has ${ends.length} ends and ${done} done, last ${types.at(-1)}`,
            run.run_id,
          ),
        );
      const status = ends[0]?.output ? EndRecord.parse(JSON.parse(ends[0].output)).status : null;
      if (i === lives.length - 1 && status !== run.status)
        found.push(broken("one end a life", `it ended as ${status} and is ${run.status}`, run.run_id));
      return found;
    });
  });
}

function splitLives(entries: JournalRow[]): JournalRow[][] {
  const lives: JournalRow[][] = [[]];
  for (const entry of entries) {
    if (entry.kind === "rewind") lives.push([]);
    else lives.at(-1)?.push(entry);
  }
  return lives;
}

/** docs/protocol.md 14.3: at most one result per (step path, visit), except for results that a rewind cut. */
export function eachVisitHasOneResult(evidence: Evidence): Violation[] {
  return forEachRun(evidence, (run, entries) => {
    let results: { seq: number; name: string }[] = [];
    const found: Violation[] = [];
    for (const entry of entries) {
      if (entry.kind === "rewind" && entry.output !== null) {
        const { keep_seq } = RewindRecord.parse(JSON.parse(entry.output));
        results = results.filter(({ seq }) => seq <= keep_seq);
      }
      const checkpoint = checkpointOf(entry);
      if (!checkpoint) continue;
      const name = `${entry.step_path ?? checkpoint.step} visit ${checkpoint.visit}`;
      if (results.some((result) => result.name === name))
        found.push(broken("a step's result is committed once", `${name} again at ${entry.seq}`, run.run_id));
      results.push({ seq: entry.seq, name });
    }
    return found;
  });
}

/** docs/protocol.md 14.3: the cost of a run is the sum of its calls, each charged once, wasted or not; each result counts once. */
export function chargesAreUsage(evidence: Evidence): Violation[] {
  const usage = Map.groupBy(evidence.usage, ({ run_id }) => run_id);
  return forEachRun(evidence, (run, entries) => {
    const calls = usage.get(run.run_id) ?? [];
    const tokens = calls.reduce((sum, call) => sum + call.tokens, 0);
    const cost = calls.reduce((sum, call) => sum + call.cost_micro_usd, 0);
    const steps = entries.filter((entry) => checkpointOf(entry) !== null).length;
    const found: Violation[] = [];
    const promise = "charges are usage";
    if (tokens !== run.tokens)
      found.push(broken(promise, `the run has ${run.tokens} tokens, its usage ${tokens}`, run.run_id));
    if (cost !== run.cost_micro_usd)
      found.push(
        broken(promise, `the run cost ${run.cost_micro_usd} micro-dollars, its usage ${cost}`, run.run_id),
      );
    if (steps !== run.step_count)
      found.push(
        broken(
          promise,
          `the run counts ${run.step_count} steps, its journal has ${steps} results`,
          run.run_id,
        ),
      );
    const seqs = new Set(entries.map(({ seq }) => seq));
    if (calls.some(({ seq }) => !seqs.has(seq)))
      found.push(broken(promise, "a charge belongs to no entry", run.run_id));
    return found;
  });
}

/** The checkpoint of an entry, if it has one. */
export function checkpointOf({ kind, output }: JournalRow): Checkpoint | null {
  if (output === null) return null;
  if (kind === "step") return Checkpoint.parse(JSON.parse(output));
  return kind === "end" ? EndRecord.parse(JSON.parse(output)).checkpoint : null;
}

function forEachRun(
  { runs, journal }: Evidence,
  check: (run: Evidence["runs"][number], entries: JournalRow[]) => Violation[],
): Violation[] {
  const byRun = Map.groupBy(journal, ({ run_id }) => run_id);
  return runs.flatMap((run) => check(run, byRun.get(run.run_id) ?? []));
}
