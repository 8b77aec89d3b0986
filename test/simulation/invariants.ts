/** docs/protocol.md 14 and the promises of docs/architecture.md 2, as far as the tables at rest show them. */
import { z } from "zod";
import type { RunId } from "../../shared/contracts/ids.ts";
import { Checkpoint, EndRecord } from "../../shared/contracts/journal-entry.ts";
import { recordOf } from "../../shared/journal/records.ts";
import type { StoredEntry, Usage } from "../../shared/contracts/journal-entry.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import { fold, initialProgress, countedEntries } from "../../shared/journal/fold.ts";
import { storedPages } from "../shared/journal/stored-pages.ts";
import { outputsOf, orchestrationOf } from "./orchestrations.ts";
import type { RunRow, Tables } from "./tables.ts";
import type { Simulation } from "./simulation.ts";

export async function violationsAtRest(sim: Simulation): Promise<string[]> {
  const { tables } = sim.postgres;
  const found: string[] = orphansOf(tables);
  for (const run of sim.edge.accepted)
    if (!tables.runs.has(run)) found.push(`${run} was accepted and has no row`);
  for (const row of tables.runs.values()) {
    const violations = await journalViolations(row, tables);
    for (const check of [checkUsage, checkEscalations, checkOutcome])
      violations.push(...(await check(row, tables)));
    found.push(
      ...violations.map((what) => `${row.run_id} (${row.orchestration_id}, ${row.status}): ${what}`),
    );
  }
  for (const [question, answeredBy] of sim.edge.answered) {
    const wait = tables.waits.find(({ run_id, wait_id }) => `${run_id} ${wait_id}` === question);
    if (wait?.answered_by !== answeredBy)
      found.push(`${question} accepted the answer of ${answeredBy}, and that of ${wait?.answered_by} counts`);
  }
  for (const { run, state, owner } of strayJobs(sim))
    found.push(`${run} is left in the queue: ${state} ${owner ?? ""}`);
  for (const { owner, worker, process } of sim.workers) {
    if (!process.dead && worker.active > 0) found.push(`${owner} still executes ${worker.active} runs`);
  }
  return found;
}

/** What is wrong with the journal of a run at rest, whatever its orchestration. */
export async function journalViolations(row: RunRow, tables: Tables): Promise<string[]> {
  const results = await checkResults(row, tables);
  return [
    ...checkEnd(row, tables),
    ...checkTiles(row, tables),
    ...results,
    ...checkCharges(row, tables),
    ...checkLetters(row, tables),
  ];
}

/**
 * The jobs that are left in the queue. A parent looks after its children once a day: when a rollback of Redis brings back the timer of
 * such a wait after the run's end, 7.9 removes it within an hour, and no history is that long.
 */
export function strayJobs({ redis, postgres: { tables } }: Simulation) {
  return redis.jobs.filter(({ run, state }) => {
    const waitsForChild = tables.waitsOf(run).some(({ child_run_id }) => child_run_id !== undefined);
    return !(state === "timer" && waitsForChild && tables.runs.get(run)?.ended_at !== null);
  });
}

/** 5.15: every child was started by a run that is there, once for each wait of it. */
function orphansOf({ runs }: Tables): string[] {
  const waits = new Set<string>();
  return [...runs.values()].flatMap(({ run_id, parent_run_id, parent_wait_id }) => {
    if (parent_run_id === undefined) return [];
    const wait = `${parent_run_id} ${parent_wait_id}`;
    const wrong =
      !runs.has(parent_run_id) || waits.has(wait) ? [`${run_id} is no only child of ${wait}`] : [];
    waits.add(wait);
    return wrong;
  });
}

/** 14.1: each life ends once, with exactly one `done`. */
function checkEnd(row: RunRow, tables: Tables): string[] {
  if (!TERMINAL.has(row.status)) return [`has not ended: ${JSON.stringify(row)}`];
  const entries = tables.entriesOf(row.run_id);
  const wrong = entries.flatMap(({ kind, seq, events }, at) => {
    const dones = events.split("\n").map((line) => line.includes('"type":"done"'));
    const isLast = at === entries.length - 1;
    const ok = kind === "end" ? dones.indexOf(true) === dones.length - 1 : !dones.includes(true);
    const follows = entries[at + 1]?.kind;
    if (kind === "end" && !isLast && follows !== "rewind")
      return [`entry ${seq} ended it, and ${follows} follows`];
    return ok ? [] : [`entry ${seq} has a done that is not where its kind requires it`];
  });
  return entries.at(-1)?.kind === "end" ? wrong : [...wrong, "its last entry is no end"];
}

/** 14.2: no gap and no overlap; `attempt` never falls. */
function checkTiles(row: RunRow, tables: Tables): string[] {
  let [seq, attempt] = [0, 0];
  for (const entry of tables.entriesOf(row.run_id)) {
    if (entry.seq - entry.events_n !== seq)
      return [`after event ${seq} comes an entry up to ${entry.seq} with ${entry.events_n}`];
    if (entry.events.split("\n").length !== entry.events_n)
      return [`entry ${entry.seq} counts its events wrongly`];
    if (entry.attempt < attempt) return [`attempt ${entry.attempt} wrote after ${attempt}`];
    ({ seq, attempt } = entry);
  }
  return seq === row.event_seq ? [] : [`its journal ends at ${seq}, event_seq is ${row.event_seq}`];
}

/** 14.3: one result for each visit of a step in each track. */
async function checkResults(row: RunRow, tables: Tables): Promise<string[]> {
  const seen = new Set<string>();
  const rows = new Map(tables.entriesOf(row.run_id).map((entry) => [entry.seq, entry]));
  const counted = await countedOf(row, tables);
  return counted.flatMap(({ seq, kind, output }) => {
    if (output === null || (kind !== "step" && kind !== "end")) return [];
    const json: unknown = JSON.parse(output);
    const checkpoint = kind === "step" ? Checkpoint.parse(json) : EndRecord.parse(json).checkpoint;
    if (checkpoint === null) return [];
    // The path names the visit of each step around this one; the record has only the place of the track.
    const key = `${rows.get(seq)?.step_path ?? ""}:${checkpoint.visit}`;
    const secondResult = seen.has(key) ? [`two results of ${key}`] : [];
    seen.add(key);
    return secondResult;
  });
}

/** The entries of the run's journal that still count. */
async function countedOf({ run_id }: RunRow, tables: Tables): Promise<StoredEntry[]> {
  const counted: StoredEntry[] = [];
  for await (const entry of countedEntries(storedPages(tables.entriesOf(run_id)))) counted.push(entry);
  return counted;
}

/** 14.3: charges equal the usage. */
function checkCharges(row: RunRow, tables: Tables): string[] {
  const calls = tables.usage.filter(({ run_id }) => run_id === row.run_id);
  const tokens = calls.reduce((sum, call) => sum + call.input_tokens + call.output_tokens, 0);
  const cost = calls.reduce((sum, call) => sum + call.cost_micro_usd, 0);
  return tokens !== row.tokens || cost !== row.cost_micro_usd
    ? [`its totals are not the sum of its usage`]
    : [];
}

/**
 * 14.3 and 5.10: no response of a model, and no child, is charged twice. The results of a completed run charge exactly what
 * its orchestration uses. What came to nothing (a failed child, a failed try, a call that was cut off) is charged beside them: a
 * client's retry starts that child anew, and a further try makes that call again.
 */
async function checkUsage(row: RunRow, tables: Tables): Promise<string[]> {
  const calls = tables.usage.filter(({ run_id }) => run_id === row.run_id);
  // Each response of a model has a cost of its own.
  const names = calls.map(({ provider, model, cost_micro_usd }) =>
    provider === "child_run" ? model : `${provider} ${cost_micro_usd}`,
  );
  const chargedTwice = names.filter((name, at) => names.indexOf(name) !== at);
  const foreignChildren = calls.filter(
    ({ provider, model }) => provider === "child_run" && !isChildOf(row.run_id, model, tables),
  );
  const results = new Set((await countedOf(row, tables)).filter(isProgress).map(({ seq }) => seq));
  const isFailedTry = ({ call }: Usage): boolean => /(^|:)try\./.test(call);
  const used = calls.filter((call) => results.has(call.seq) && !call.wasted && !isFailedTry(call)).length;
  const { usage } = orchestrationOf(row.orchestration_id);
  const isWrong = used > usage || (row.status === "completed" && used !== usage);
  return [
    ...chargedTwice.map((name) => `${name} is charged twice`),
    ...foreignChildren.map(({ model }) => `${model} is charged, and is no child of it`),
    ...(isWrong ? [`its results have charged ${used} calls, not ${usage}`] : []),
  ];
}

function isChildOf(parent: RunId, child: string, tables: Tables): boolean {
  return [...tables.runs.values()].some(
    ({ run_id, parent_run_id }) => run_id === child && parent_run_id === parent,
  );
}

/** Whether an entry holds a result, or a part of one. */
function isProgress(stored: StoredEntry): boolean {
  const entry = recordOf(stored);
  return (
    entry.kind === "step" ||
    entry.kind === "turn" ||
    (entry.kind === "end" && entry.record.checkpoint !== null)
  );
}

/** 14.8: one unresolved dead letter for a failed run, none for other runs. */
function checkLetters(row: RunRow, tables: Tables): string[] {
  const open = tables.letters.filter(({ run_id, resolved }) => run_id === row.run_id && !resolved).length;
  const due = row.status === "failed" ? 1 : 0;
  return open === due ? [] : [`${open} open dead letters`];
}

/** 5.6: a question goes to each further group once, in order, and its wait has the level of the last group. */
function checkEscalations(row: RunRow, tables: Tables): string[] {
  const escalated = tables.entriesOf(row.run_id).flatMap(({ events }) =>
    events.split("\n").flatMap((line) => {
      const event = Escalated.safeParse(JSON.parse(line));
      return event.success ? [event.data] : [];
    }),
  );
  return tables.waitsOf(row.run_id).flatMap(({ wait_id, level }) => {
    const levels = escalated.flatMap((event) => (event.question_id === wait_id ? [event.level] : []));
    const due = Array.from({ length: level }, (_, n) => n + 1);
    return levels.join() === due.join()
      ? []
      : [`${wait_id} has level ${level}, and went to the groups ${levels.join()}`];
  });
}

const Escalated = z.object({
  type: z.literal("human_escalated"),
  question_id: z.string(),
  level: z.number(),
});

/** 2.6: no silent success. A failed run has an error that its orchestration may have. */
async function checkOutcome(row: RunRow, tables: Tables): Promise<string[]> {
  const orchestration = orchestrationOf(row.orchestration_id);
  const progress = await fold(initialProgress({}).state, storedPages(tables.entriesOf(row.run_id)));
  if (row.status === "completed") {
    const { human_response: _, ...written } = progress.state;
    const [state, due] = [JSON.stringify(written), JSON.stringify(outputsOf(orchestration))];
    if (!orchestration.outcomes.includes("completed"))
      return ["completed, which is no outcome of its orchestration"];
    return state === due
      ? await checkAnswers(row, tables)
      : [`its steps wrote ${state}, and ${due} is expected`];
  }
  // A child may be cancelled because its parent has ended.
  const mayBeCancelled = row.cancel_requested_at !== null || row.parent_run_id !== undefined;
  if (row.status === "cancelled") return mayBeCancelled ? [] : ["no client cancelled it"];
  const code = progress.end?.error?.code ?? "none";
  if (code === "human_timeout" && tables.waitsOf(row.run_id).at(-1)?.answered_by !== "deadline") {
    return ["timed out, and its last question was not closed by its deadline"];
  }
  return row.status !== "failed" || code === "poison" || orchestration.outcomes.includes(code)
    ? []
    : [`failed as ${code}`];
}

/** Each visit goes on with the answer to its own question, and every accepted answer counts once. */
async function checkAnswers(row: RunRow, tables: Tables): Promise<string[]> {
  const counted = await countedOf(row, tables);
  const results = counted.map(recordOf).flatMap((entry) => {
    if (entry.kind === "step") return entry.record;
    return entry.kind === "end" && entry.record.checkpoint ? entry.record.checkpoint : [];
  });
  const questions = results.filter(({ type }) => type === "human");
  const used = questions.map(({ visit, set }) => `${visit} ${JSON.stringify(set["human_response"])}`);
  const acceptedAnswers = tables
    .waitsOf(row.run_id)
    .filter(({ answer, child_run_id }) => answer !== null && child_run_id === undefined)
    .map(({ wait_id, answer }) => `${wait_id.split(":")[1]} ${answer}`);
  const [usedAnswers, accepted] = [used.toSorted().join(), acceptedAnswers.toSorted().join()];
  return usedAnswers === accepted
    ? []
    : [`its visits went on with ${usedAnswers}, and the accepted answers are ${accepted}`];
}
