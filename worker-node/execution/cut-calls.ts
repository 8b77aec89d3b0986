import { z } from "zod";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import { linesOf } from "../../shared/events/lines.ts";
import { stepPath } from "../../shared/journal/track.ts";
import { inTrack, namesOf } from "../engine/events.ts";
import type { ModelAnswer, ModelRequest, Models } from "../engine/ports.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { estimatedInput, usageOf } from "../models/call-usage.ts";
import { continuesText } from "../models/continues-text.ts";
import type { PaidVisit } from "./execution-state.ts";
import { waitForStore } from "./wait-for-store.ts";

const TextEvent = z.object({
  type: z.string(),
  orch_step_id: z.string().optional(),
  path: z.string().optional(),
  text: z.string().optional(),
  first: z.boolean().optional(),
});

/**
 * The texts of the calls of a step that crashes have cut off since its last checkpoint, the oldest first: pure.
 * @param lines event lines of a journal, in order
 */
export function cutTextsOf(lines: string, path: string): string[] {
  const texts: string[] = [];
  let text = "";
  for (const line of linesOf(lines).filter((each) => each !== "")) {
    const event = TextEvent.parse(JSON.parse(line));
    if ((event.path ?? event.orch_step_id) !== path) continue;
    if (event.type === "llm_restart") texts.push(text);
    if (event.type === "llm_restart" || event.type === "step_retry" || event.first) text = "";
    if (event.type === "llm_delta") text += event.text ?? "";
  }
  return [...texts, text].filter((each) => each !== "");
}

type AfterCrash = {
  signal: AbortSignal;
  charge(usage: Usage): void;
  wasCut: boolean;
  cutTexts?: readonly string[];
};

/**
 * The models of a visit that may go on after a crash (docs/protocol.md 5.26). A crash may have cut off the answer of its first call.
 * A model that can go on with a text gets that text and writes the rest. For any other model the call is made again: the event
 * `llm_restart` says that the text begins anew, and what the cut call cost is charged as wasted.
 * @param charge charges a call that the step does not know of
 * @param wasCut an answer of the visit may have been cut off
 * @param cutTexts the texts that were cut off; absent: they are not known, and are read from the journal
 */
export function afterCrash(
  visit: PaidVisit,
  { signal, charge, wasCut, cutTexts }: AfterCrash,
  models: Models,
): Models {
  const { state, track, step } = visit;
  const { run, deps, runLog } = state;
  const path = stepPath(track, step.id);
  // A checkpoint of any kind ends the count of crashes. A visit reads once.
  if (!wasCut || state.resumed.has(path)) return models;

  const generate = async (request: ModelRequest): Promise<ModelAnswer> => {
    const name = deps.prices.nameOf(request.model);
    if (name === null || state.resumed.has(path)) return models.generate(request);
    const read = () => deps.store.readCutText(run.run_id, run.attempt, path);
    const texts = cutTexts ?? cutTextsOf(await waitForStore(run, signal, read), path);
    state.resumed.add(path);
    const last = texts.at(-1);
    if (last === undefined) return models.generate(request);
    const goesOn = continuesText(name) && request.toolChoice !== "required";
    const cutUsage = (text: string, i: number, wasted: boolean): Usage => {
      const report = { tokens: undefined, writtenBytes: Buffer.byteLength(text) };
      const usage = usageOf(name, report, estimatedInput(request), deps.prices.replaced);
      return {
        call: `${path}:cut.${run.attempt}.${i}`,
        ...usage,
        ...(wasted ? { wasted: true as const } : {}),
      };
    };
    texts.slice(0, -1).forEach((text, i) => charge(cutUsage(text, i, true)));
    if (goesOn) {
      try {
        const answer = await goOn(last, request, models);
        charge(cutUsage(last, texts.length, false));
        return answer;
      } catch (error) {
        // The provider does not take a text to go on with.
        if (!(error instanceof TerminalError && error.code === "model_bad_request")) throw error;
      }
    }
    const wasted = cutUsage(last, texts.length, true);
    charge(wasted);
    const { provider, model, cost_micro_usd } = wasted;
    const cost = { model: `${provider}/${model}`, wasted_usd: cost_micro_usd / 1e6 };
    runLog.note([inTrack(track, { type: "llm_restart", ...namesOf(step), ...cost })]);
    return models.generate(request);
  };
  return { generate };
}

/** The answer that begins with `text`. Providers refuse a text with space at its end, so the model may write that space again. */
async function goOn(text: string, request: ModelRequest, models: Models): Promise<ModelAnswer> {
  const prefix = text.trimEnd();
  let isInText = prefix === text;
  request.onContinue?.();
  const { parts: _, ...answer } = await models.generate({
    ...request,
    messages: [...request.messages, { role: "assistant", content: prefix }],
    onText: (piece) => {
      const rest = isInText ? piece : piece.trimStart();
      if (rest === "") return;
      isInText = true;
      request.onText(rest);
    },
  });
  return { ...answer, text: text + (prefix === text ? answer.text : answer.text.trimStart()) };
}
