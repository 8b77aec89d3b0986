import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import { responseOfTurn, turnOfResponse } from "../engine/conversation-turns.ts";
import type { BackgroundRequest, ModelAnswer, ModelRequest, Models } from "../engine/ports.ts";
import { ResponseGone } from "../models/background-call.ts";
import { afterCrash, cutTextsOf } from "./cut-calls.ts";
import type { PaidVisit } from "./execution-state.ts";
import { turnEntry } from "./turn-entry.ts";
import { waitForStore } from "./wait-for-store.ts";

/**
 * The responses that providers make in the background for the model calls of a visit, by the effect keys of the calls. Their ids
 * are committed in turns of the visit, so the worker that goes on with the visit knows them: docs/protocol.md 5.31.
 */
export class BackgroundResponses {
  readonly #visit: PaidVisit;
  readonly #turns: Json[];
  /** The commits under way. */
  readonly #commits = new Set<Promise<void>>();

  /** @param turns those of the visit, to which it appends */
  constructor(visit: PaidVisit, turns: Json[]) {
    this.#visit = visit;
    this.#turns = turns;
  }

  /** The id of the response that has begun for a call; null: there is none that the call may get. */
  idOf(key: string): string | null {
    const named = this.#turns.map(responseOfTurn).findLast((each) => each?.key === key);
    return named?.response ?? null;
  }

  /** The effect keys of the calls whose responses another worker may get. */
  get open(): string[] {
    const keys = this.#turns.flatMap((turn) => responseOfTurn(turn)?.key ?? []);
    return [...new Set(keys)].filter((key) => this.idOf(key) !== null);
  }

  /** Begins the commit of the id of a call's response; null: no later call may get a response that was committed before. */
  commitId(key: string, response: string | null): void {
    const { state, track, step, visit } = this.#visit;
    const data = turnOfResponse(key, response);
    this.#turns.push(data);
    const turn = { ...placeOf(track), step: step.id, visit, data };
    const commit = state.runLog
      .append(turnEntry({ track, step }, turn, []))
      .then(() => {})
      // The execution is stopped where the run is superseded; an id that is not committed costs another call at most.
      .catch(() => {})
      .finally(() => this.#commits.delete(commit));
    this.#commits.add(commit);
  }

  /**
   * Leaves the open responses to the worker that goes on with the run: it gets their answers and charges them, so they are removed from
   * `usage`. Resolves when their ids are committed.
   */
  async handOver(usage: Map<string, Usage>): Promise<void> {
    for (const key of this.open) usage.delete(key);
    await Promise.all(this.#commits);
  }

  /** Gives up the open responses of a failed try: they are paid for and of no use, because the next try asks again. */
  abandon(usage: ReadonlyMap<string, Usage>): void {
    for (const key of this.open) if (usage.has(key)) this.commitId(key, null);
  }
}

/** How a try may use responses. `charge` charges a call that the step does not know of. */
type ResponseUse = { responses: BackgroundResponses; signal: AbortSignal; charge(usage: Usage): void };

/**
 * The models of a visit that may go on after a crash or a drain. A call of a step with `background` whose response has begun gets
 * the answer of that response, from its beginning; the text that viewers have is not published again. Any other call is made as
 * `afterCrash` says.
 */
export function inBackground(
  visit: PaidVisit,
  { responses, signal, charge }: ResponseUse,
  models: Models,
): Models {
  const { state, track, step } = visit;
  const { run, deps } = state;
  const hasCrashed = run.crash_count > 0;
  if (!("background" in step && step.background))
    return afterCrash(visit, { signal, charge, wasCut: hasCrashed }, models);
  const wasCut = hasCrashed || responses.open.length > 0;
  const path = stepPath(track, step.id);
  const requestOf = (key: string, attachTo: string | null): BackgroundRequest => ({
    attachTo,
    onBegun: (id) => {
      if (!signal.aborted) responses.commitId(key, id);
    },
    onEnded: () => {
      if (!signal.aborted) responses.commitId(key, null);
    },
  });
  const begun: Models = {
    generate: (request) => models.generate({ ...request, background: requestOf(request.effectKey, null) }),
  };
  const generate = async (request: ModelRequest): Promise<ModelAnswer> => {
    const attachTo = responses.idOf(request.effectKey);
    if (attachTo === null) return afterCrash(visit, { signal, charge, wasCut }, begun).generate(request);
    const read = () => deps.store.readCutText(run.run_id, run.attempt, path);
    const cutTexts = cutTextsOf(await waitForStore(run, signal, read), path);
    const published = cutTexts.at(-1) ?? "";
    try {
      const background = requestOf(request.effectKey, attachTo);
      const answer = await models.generate({ ...request, ...afterText(published, request), background });
      state.resumed.add(path);
      return answer;
    } catch (error) {
      if (!(error instanceof ResponseGone)) throw error;
      // The commit that the response is gone is a checkpoint. After it the store returns no texts as cut off, so they are passed on.
      return afterCrash(visit, { signal, charge, wasCut: true, cutTexts }, begun).generate(request);
    }
  };
  return { generate };
}

/** Publishes the part of an answer that follows the text which viewers have already; all of the answer when it begins with another text. */
function afterText(published: string, request: ModelRequest): Pick<ModelRequest, "onText" | "onRestart"> {
  let left = published;
  if (published !== "") request.onContinue?.();
  const passed = (): string => published.slice(0, published.length - left.length);
  return {
    onRestart: () => {
      left = "";
      request.onRestart?.();
    },
    onText: (piece) => {
      if (piece.startsWith(left)) {
        const more = piece.slice(left.length);
        left = "";
        if (more !== "") request.onText(more);
      } else if (left.startsWith(piece)) {
        left = left.slice(piece.length);
      } else {
        const all = passed() + piece;
        left = "";
        request.onRestart?.();
        request.onText(all);
      }
    },
  };
}
