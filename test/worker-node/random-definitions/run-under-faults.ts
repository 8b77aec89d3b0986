/** Executes a definition to its end, by as many workers as its faults and its waits demand. */
import { z } from "zod";
import type { EndRecord, StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import type { SharedSandbox } from "../../../worker-node/engine/sandbox.ts";
import { RetryableError } from "../../../worker-node/engine/step-errors.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { answerWait } from "../../simulation/edge-statements.ts";
import { notifyFamily } from "../../simulation/family-model.ts";
import { journalViolations } from "../../simulation/invariants.ts";
import type { WaitRow } from "../../simulation/tables.ts";
import { committedCalls } from "../contract/run-case.ts";
import { ExecutionHarness } from "../execution/execution-harness.ts";
import { FakeStore } from "../fake-store.ts";
import type { LinkFault } from "../fake-store.ts";
import { STATE } from "./definition.ts";
import { CALM } from "./faults.ts";
import type { Life } from "./faults.ts";
import { childAnswer, modelAnswer, named, personAnswer, toolAnswer, withoutRunIds } from "./outside.ts";

export type Outcome = {
  /** The end of the run, without the ids of runs: the final state, the status and the error. */
  end: string;
  /** The children that were started, by their waits. */
  children: string[];
  violations: string[];
};

/** More workers than the faults and the waits of any plan demand. */
const MAX_LIVES = 1_000;
const Final = z.looseObject({ type: z.literal("orchestration_complete"), final_state: z.json() });

export async function runUnderFaults(
  definition: JsonObject,
  lives: readonly Life[],
  sandbox: SharedSandbox,
): Promise<Outcome> {
  const store = new FakeStore();
  const calls: string[] = [];
  const violations: string[] = [];
  let claimed: ClaimedRun | null = null;
  for (let n = 0; n < MAX_LIVES; n++) {
    const worker = new OneWorker(store, definition, lives[n] ?? CALM, sandbox);
    const before: StoredEntry[] = claimed === null ? [] : [...store.model.tables.entriesOf(claimed.run_id)];
    const committed = new Set(committedCalls(before, calls));
    const { run, ended } = worker.execute(claimed === null ? null : claimAgain(store, claimed));
    claimed = run;
    const ending = await ended;
    const repeatedCalls = worker.calls.filter((call) => committed.has(call));
    if (repeatedCalls.length > 0)
      violations.push(`worker ${n} makes committed calls again: ${repeatedCalls.join(", ")}`);
    calls.push(...worker.calls);
    // No worker claims a run whose end is committed, although the worker that died has not heard of its commit.
    const hasEnded = TERMINAL.has(store.row(run.run_id).status);
    if (ending === "ended" || hasEnded) return outcomeOf(store, run.run_id, violations);
    if (ending === "parked") endWaits(store, run.run_id);
  }
  throw new Error(`the run has not ended after ${MAX_LIVES} workers`);
}

/** A worker that executes the run until it ends, parks, is handed over, or the worker dies. */
class OneWorker {
  /** The calls that it made, as effect keys without the run. */
  readonly calls: string[] = [];
  readonly #harness: ExecutionHarness;
  readonly #life: Life;
  readonly #died = Promise.withResolvers<"dead">();

  constructor(store: FakeStore, definition: JsonObject, life: Life, sandbox: SharedSandbox) {
    this.#life = life;
    const harness = new ExecutionHarness(store);
    this.#harness = harness;
    harness.definition = definition;
    harness.sandbox = sandbox;
    for (const [id, each] of Object.entries(named)) harness.named.set(id, each);
    harness.readWaits = async (...args) => store.model.readWaits(...args);
    harness.models = { generate: (request) => this.#call(request, () => modelAnswer(request)) };
    harness.callTool = (request) => this.#call(request, () => toolAnswer(request));
  }

  execute(run: ClaimedRun | null): { run: ClaimedRun; ended: Promise<string> } {
    this.#setFlushes();
    const input = JSON.stringify({ message: "hello", state: STATE });
    const begun = run === null ? this.#harness.begin({ input }) : this.#harness.resume(run);
    const ending = begun.ending.then(({ is }) => is);
    return { run: begun.run, ended: Promise.race([ending, this.#died.promise]) };
  }

  async #call<Answer>(
    { effectKey, signal }: { effectKey: string; signal: AbortSignal },
    answer: () => Answer,
  ): Promise<Answer> {
    const n = this.calls.push(effectKey.split(":").slice(1).join(":")) - 1;
    const { ends, busy } = this.#life;
    if (ends?.by === "call" && ends.n === n) {
      this.#died.resolve("dead");
      return new Promise(() => {});
    }
    if (ends?.by === "drain" && ends.n === n) this.#harness.stop.abort(new Stop("drain", "drained"));
    await new Promise(setImmediate);
    signal.throwIfAborted();
    if (busy.includes(n)) throw new RetryableError("busy", "come back later", { answered: n % 2 === 0 });
    return answer();
  }

  /** A store whose flushes have these faults. A dead worker goes on executing, as if it were only cut off: nothing that it does later may count. */
  #setFlushes(): void {
    const { flushes, ends } = this.#life;
    const faults: LinkFault[] = [];
    const set = (n: number, fault: LinkFault): void => {
      while (faults.length < n) faults.push({ is: "ok" });
      faults[n] = fault;
    };
    for (const { n, is } of flushes) set(n, is === "slow" ? { is, ms: 5 } : { is });
    if (ends?.by === "flush")
      set(
        ends.n,
        deathAt(ends, () => this.#died.resolve("dead")),
      );
    this.#harness.store.linkFaults.splice(0, Infinity, ...faults);
  }
}

/** A flush during which the worker dies. */
function deathAt({ isCommitted }: { isCommitted: boolean }, die: () => void): LinkFault {
  return {
    is: "held",
    get until(): Promise<void> {
      // After a commit the worker is dead once the flush has returned.
      if (isCommitted)
        return Promise.resolve()
          .then(() => setImmediate(die))
          .then(() => {});
      die();
      return new Promise(() => {});
    },
  };
}

/** Another worker claims the run. */
function claimAgain(store: FakeStore, run: ClaimedRun): ClaimedRun {
  const row = store.row(run.run_id);
  const attempt = row.attempt + 1;
  Object.assign(row, { status: "running", attempt, owner: row.owner ?? ownerOf(store), paused_at: null });
  const { event_seq, signals, journal_bytes } = row;
  return { ...run, attempt, event_seq, signals, journal_bytes };
}

function ownerOf({ model }: FakeStore): string {
  const [owner] = model.tables.workers.keys();
  return owner ?? "";
}

/** What the run waits for happens: the times of questions and timers pass, persons answer, children end. */
function endWaits(store: FakeStore, run: RunId): void {
  for (const wait of store.model.tables.waitsOf(run)) {
    if (wait.answered_by !== null) continue;
    if (wait.kind === "child") endChild(store, wait);
    else endOther(store, run, wait);
  }
}

function endOther(store: FakeStore, run: RunId, wait: WaitRow): void {
  const answer = wait.kind === "human" ? personAnswer(wait.wait_id) : null;
  if (answer === null) wait.deadline_at = 0;
  else answerWait(store.model, run, wait.wait_id, JSON.stringify(answer), "key_1");
}

function endChild(store: FakeStore, { child_run_id, wait_id }: WaitRow): void {
  if (child_run_id === undefined) throw new Error(`${wait_id} waits for no child`);
  const child = store.row(child_run_id);
  const { message } = z.object({ message: z.string() }).parse(JSON.parse(child.input));
  const response = childAnswer(wait_id, message);
  const status = response === null ? "failed" : "completed";
  const error = response === null ? { code: "broken", message: "it is broken", step_id: null } : null;
  Object.assign(child, { status, owner: null, wake_at: null, ended_at: Date.now() });
  const end: EndRecord = { status, checkpoint: null, response, error };
  notifyFamily(store.model, child, JSON.stringify(end));
}

async function outcomeOf(store: FakeStore, run: RunId, found: string[]): Promise<Outcome> {
  const { tables } = store.model;
  const row = store.row(run);
  const lines = tables.entriesOf(run).flatMap(({ events }) => events.split("\n"));
  const final = lines.map((line) => Final.safeParse(JSON.parse(line))).findLast(({ success }) => success);
  const end = { status: row.status, error: row.error, state: final?.data?.final_state ?? null };
  const children = [...tables.runs.values()].filter((each) => each.parent_run_id === run);
  return {
    end: withoutRunIds(JSON.stringify(end, null, 1)),
    children: children.map(({ parent_wait_id }) => parent_wait_id ?? "").toSorted(),
    violations: [...found, ...(await journalViolations(row, tables))],
  };
}
