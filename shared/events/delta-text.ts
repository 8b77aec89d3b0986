/**
 * How a client joins model text, in one sentence that holds for every step that streams and every place from which one
 * starts over: a retry of the step, a takeover by another worker, the next turn of an agent, the next visit of a step.
 */
export const DELTA_RULE =
  "The text of a step is its `llm_delta`s joined from the latest one with `first: true` on; its `step_retry` empties it.";

/** An event as a client gets it, as far as text is concerned. */
type TextEvent = {
  type: string;
  orch_step_id?: string | undefined;
  text?: string | undefined;
  first?: boolean | undefined;
};

/**
 * The text of each step of a run, from its events in order: all of them, or those after a `Last-Event-ID` added to what
 * the earlier ones gave.
 * @returns the texts by the step's id
 */
export function addDeltas(
  events: Iterable<TextEvent>,
  texts: ReadonlyMap<string, string> = new Map(),
): Map<string, string> {
  const joined = new Map(texts);
  for (const { type, orch_step_id: step = "", text = "", first = false } of events) {
    if (type === "step_retry") joined.delete(step);
    if (type === "llm_delta") joined.set(step, (first ? "" : (joined.get(step) ?? "")) + text);
  }
  return joined;
}
