/** One run and the worker that executes it, on a store in memory. Tests set the parts and read what was committed. */
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import { LANE_DEFAULTS } from "../../../shared/contracts/lane-settings.ts";
import { windowTokens } from "../../../shared/contracts/model-window.ts";
import { recordOf } from "../../../shared/journal/records.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import { Definitions } from "../../../worker-node/execution/definitions.ts";
import type { ModelAnswer, ModelRequest, Models } from "../../../worker-node/engine/ports.ts";
import { execute } from "../../../worker-node/execution/execute.ts";
import type { ExecutionDeps } from "../../../worker-node/execution/execution-state.ts";
import { TrackLimiter } from "../../../worker-node/execution/track-limiter.ts";
import { Journal } from "../../../worker-node/journal/journal.ts";
import type { FileStore } from "../../../worker-node/files/file-store.ts";
import type { ObjectStore } from "../../../worker-node/execution/object-store.ts";
import { Counters } from "../../../worker-node/ops/counters.ts";
import { builtInPrices } from "../fakes.ts";
import { FakeStore } from "../fake-store.ts";
import { untraced } from "../../../worker-node/tracing/tracing.ts";

export const print = { type: "print", print_content: "text" };
export const llm = { type: "llm", model: "demo/fast", prompt_template: "Write" };
export const usage = {
  provider: "demo",
  model: "demo",
  input_tokens: 1,
  output_tokens: 1,
  cost_micro_usd: 1,
};

/** A definition that begins with step `a`. */
export function steps(...list: JsonObject[]): JsonObject {
  return { id: "orch", name: "Orch", entry_step_id: "a", steps: list };
}

const owner = newIncarnation("w");
const notInThisTest = async (): Promise<never> => Promise.reject(new Error("not in this test"));

export class ExecutionHarness {
  readonly store: FakeStore;
  laneSettings: ExecutionDeps["laneSettings"] = (lane) => LANE_DEFAULTS[lane];
  readonly owner = owner;
  readonly stop = new AbortController();
  /** Model calls, in order. */
  readonly calls: ModelRequest[] = [];
  definition = steps({ id: "a", ...llm, output_key: "text", next_step_id: "b" }, { id: "b", ...print });
  artifacts: ObjectStore | null = null;
  files: FileStore | null = null;
  readDefinition = async (): Promise<void> => {};
  /** Agents and tools by id. */
  readonly named = new Map<string, JsonObject>();
  /** The models, in place of `generate`. */
  models: Models | null = null;
  /** The sandbox, in place of `transform`. */
  sandbox: ExecutionDeps["sandbox"] | null = null;
  transform: (code: string, state: JsonObject) => Promise<Json> = notInThisTest;
  callTool: ExecutionDeps["tools"]["call"] = notInThisTest;
  callMcp: ExecutionDeps["tools"]["callMcp"] = notInThisTest;
  toolsOf: ExecutionDeps["tools"]["toolsOf"] = async () => [];
  generate: (request: ModelRequest) => Promise<string> = async () => "answer";
  readWaits: ExecutionDeps["store"]["readWaits"] = async () => [];
  admit: ExecutionDeps["children"]["admit"] = async () => ({ is: "admitted", quotaCheckedBy: "queue" });
  /** The runs of which the queue was notified, in order. */
  readonly notified: RunId[] = [];
  /** The runs whose reservations in the queue were given back. */
  readonly givenBack: RunId[] = [];
  onNotified: (run: RunId) => void = () => {};

  readChatHistory: ExecutionDeps["store"]["readChatHistory"] = notInThisTest;
  readTurnText: ExecutionDeps["store"]["readTurnText"] = notInThisTest;
  prices: ExecutionDeps["prices"] = builtInPrices();
  defaultModel: ExecutionDeps["defaultModel"] = async () => "demo/fast";
  /** The budgets of the run. */
  reserveInBudgets: ExecutionDeps["store"]["reserveInBudgets"] = async () => ({ outcome: "free" });
  /** The event lines of a crashed attempt after the last checkpoint. */
  cutText = "";
  /** The kept answers, by the hash of their request. */
  readonly kept = new Map<string, string>();
  releaseReservation: ExecutionDeps["store"]["releaseReservation"] = async () => null;

  /** @param store that of an earlier worker, whose runs this one continues */
  constructor(store = new FakeStore()) {
    this.store = store;
  }

  /** @param journal what the run has committed before */
  begin(changes: Partial<ClaimedRun> = {}, journal: readonly StoredEntry[] = []) {
    const run: ClaimedRun = { ...this.store.claimed(owner), ...changes };
    if (run.event_seq > 0) this.store.row(run.run_id).event_seq = run.event_seq;
    for (const { seq, kind, output, events } of journal) {
      const entry = { seq, kind, output, run_id: run.run_id, attempt: 1, step_path: null, visit: null };
      this.store.model.tables.write({ ...entry, events: events ?? "", events_n: 1 });
    }
    return this.resume(run);
  }

  /** Executes a run that a worker has claimed, from its journal on. */
  resume(run: ClaimedRun) {
    const deps = this.#deps();
    const runLog = deps.journal.open(run, this.stop);
    return { run, runLog, ending: execute(run, deps, runLog, this.stop.signal) };
  }

  #deps(): ExecutionDeps {
    const store = {
      ...this.store.store,
      readPinnedDefinition: async () => {
        await this.readDefinition();
        return JSON.stringify(this.definition);
      },
      readDefinition: async (_kind: string, _tenant: string, id: string) => {
        const definition = this.named.get(id);
        return definition === undefined
          ? null
          : { owner: "acme", version: 1, definition: JSON.stringify(definition) };
      },
    };
    return {
      owner,
      laneSettings: (lane) => this.laneSettings(lane),
      journal: new Journal(owner, store, () => {}),
      definitions: new Definitions(store),
      models: {
        generate: async (request): Promise<ModelAnswer> => {
          this.calls.push(request);
          if (this.models !== null) return this.models.generate(request);
          return { text: await this.generate(request), tool_calls: [], usage };
        },
      },
      defaultModel: this.defaultModel,
      prices: this.prices,
      windowTokens: (model) => windowTokens(model, async () => null),
      tools: {
        toolsOf: (request) => this.toolsOf(request),
        call: (request) => this.callTool(request),
        callMcp: (request) => this.callMcp(request),
      },
      sandbox: this.sandbox ?? {
        of: () => ({ evaluate: notInThisTest, transform: (code, state) => this.transform(code, state) }),
      },
      artifacts: () => this.artifacts,
      files: () => this.files,
      tracing: untraced,
      trackLimiter: new TrackLimiter(),
      children: {
        admit: (child) => this.admit(child),
        giveBack: ({ run }) => void this.givenBack.push(run),
        notify: (runs) => {
          this.notified.push(...runs.map(({ run_id }) => run_id));
          for (const { run_id } of runs) this.onNotified(run_id);
        },
      },
      count: new Counters(),
      store: {
        ...store,
        readWaits: (id, names) => this.readWaits(id, names),
        readChatHistory: (id, before) => this.readChatHistory(id, before),
        readTurnText: (run) => this.readTurnText(run),
        reserveInBudgets: (call) => this.reserveInBudgets(call),
        releaseReservation: (call) => this.releaseReservation(call),
        readCutText: async () => this.cutText,
        readKeptAnswer: async ({ tenant_id, request_hash }) => {
          const answer = this.kept.get(`${tenant_id} ${request_hash}`);
          return answer === undefined ? null : { answer, age_ms: 5_000 };
        },
        keepAnswers: async (answers) => {
          for (const { tenant_id, request_hash, answer } of answers)
            this.kept.set(`${tenant_id} ${request_hash}`, answer);
          return null;
        },
      },
      confirm: async () => {},
    };
  }

  kindsOf(run: ClaimedRun): string[] {
    return this.store.entriesOf(run.run_id).map(({ kind }) => kind);
  }

  eventsOf(run: ClaimedRun): string {
    return this.store
      .entriesOf(run.run_id)
      .map(({ events }) => events)
      .join("\n");
  }

  errorOf(run: ClaimedRun): string | undefined {
    return this.store.entriesOf(run.run_id).at(-1)?.error ?? undefined;
  }

  /** @throws when the next worker, or the edge, could not read a committed entry */
  checkEntries(): void {
    for (const entry of this.store.entries) recordOf(entry);
  }
}
