/**
 * How a client joins model text: one rule for every step that streams. The rule covers everything that makes a text start over: a
 * retry of the step, a takeover by another worker, the next turn of an agent, the next visit of the step. A step that streams in two
 * branches or iterations at once has two texts.
 */
export const DELTA_RULE =
  "The text of a step is its `llm_delta`s joined from the latest one with `first: true` on; its `step_retry` and `llm_restart` empty it. " +
  "In a branch or a loop a step is named by its `path`, elsewhere by its `orch_step_id`.";

/** The fields of an event that this rule reads, as a client gets them. */
type TextEvent = {
  type: string;
  orch_step_id?: string | undefined;
  path?: string | undefined;
  text?: string | undefined;
  first?: boolean | undefined;
};

/**
 * The text of each step of a run, from its events in order: all of them, or those after a `Last-Event-ID` added to what
 * the earlier ones gave.
 * @returns the texts by the step's path, which is its id outside of branches and loops
 */
export function addDeltas(
  events: Iterable<TextEvent>,
  texts: ReadonlyMap<string, string> = new Map(),
): Map<string, string> {
  const joined = new Map(texts);
  for (const { type, orch_step_id = "", path: step = orch_step_id, text = "", first = false } of events) {
    if (type === "step_retry" || type === "llm_restart") joined.delete(step);
    if (type === "llm_delta") joined.set(step, (first ? "" : (joined.get(step) ?? "")) + text);
  }
  return joined;
}

/** The text of a run with one step, from the result of `addDeltas`; empty: there is none. */
export function onlyText(texts: ReadonlyMap<string, string>): string {
  return [...texts.values()].at(-1) ?? "";
}
