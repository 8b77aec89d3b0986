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
 * are turns of the visit, so the worker that goes on with it knows them: docs/protocol.md 5.31.
 */
export class Responses {
  readonly #visit: PaidVisit;
  readonly #turns: Json[];
  /** The commits under way. */
  readonly #commits = new Set<Promise<void>>();

  /** @param turns those of the visit, to which it appends */
  constructor(visit: PaidVisit, turns: Json[]) {
    this.#visit = visit;
    this.#turns = turns;
  }

  /** The response that has begun for a call; null: none that a call may get. */
  of(key: string): string | null {
    const named = this.#turns.map(responseOfTurn).findLast((each) => each?.key === key);
    return named?.response ?? null;
  }

  /** The effect keys of the calls whose responses another worker may get. */
  get open(): string[] {
    const keys = this.#turns.flatMap((turn) => responseOfTurn(turn)?.key ?? []);
    return [...new Set(keys)].filter((key) => this.of(key) !== null);
  }

  /** Commits the id of the response of a call; null: no later call may get it. */
  name(key: string, response: string | null): void {
    const { state, track, step, visit } = this.#visit;
    const data = turnOfResponse(key, response);
    this.#turns.push(data);
    const turn = { ...placeOf(track), step: step.id, visit, data };
    const commit = state.runLog
      .append(turnEntry(track, step, turn, []))
      .then(() => {})
      // The execution is stopped where the run is superseded; an id that is not committed costs another call at most.
      .catch(() => {})
      .finally(() => this.#commits.delete(commit));
    this.#commits.add(commit);
  }

  /**
   * What a try has used that is to be charged now, when it has been stopped or has failed. The calls that a later worker gets the
   * answers of are charged by that worker: their ids are committed first.
   */
  async leave(usage: Map<string, Usage>): Promise<void> {
    for (const key of this.open) usage.delete(key);
    await Promise.all(this.#commits);
  }

  /** The answers of a failed try have been paid for and are of no use: the next try asks again. */
  drop(usage: ReadonlyMap<string, Usage>): void {
    for (const key of this.open) if (usage.has(key)) this.name(key, null);
  }
}

/** How a try may use responses. `charge` charges a call that the step does not know of. */
type Use = { responses: Responses; signal: AbortSignal; charge(usage: Usage): void };

/**
 * The models of a visit that may go on after a crash or a drain. A call of a step with `background` whose response has begun gets
 * the answer of that response, from its beginning; the text that viewers have is not published again. Any other call is made as
 * `afterCrash` says.
 */
export function inBackground(visit: PaidVisit, { responses, signal, charge }: Use, models: Models): Models {
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
      if (!signal.aborted) responses.name(key, id);
    },
    onEnded: () => {
      if (!signal.aborted) responses.name(key, null);
    },
  });
  const begun: Models = {
    generate: (request) => models.generate({ ...request, background: requestOf(request.effectKey, null) }),
  };
  const generate = async (request: ModelRequest): Promise<ModelAnswer> => {
    const attachTo = responses.of(request.effectKey);
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
      // That the response is gone is a checkpoint, after which the texts are not read as cut off any more.
      return afterCrash(visit, { signal, charge, wasCut: true, cutTexts }, begun).generate(request);
    }
  };
  return { generate };
}

/** Publishes of an answer what follows the text that is published already; all of it when it begins otherwise. */
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
