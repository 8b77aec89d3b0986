import type { Step } from "../../shared/contracts/definition/index.ts";
import type { StepContext } from "./ports.ts";

/** At most 20 deltas a second for a step. */
const INTERVAL_MS = 50;
/** The first half of a character of two at the end of a text. */
const HALF = /[\uD800-\uDBFF]$/;

/** Receives the text of one answer as it arrives: see `deltas`. */
export type AnswerText = { push(text: string): void; restart(): void; continue(): void; flush(): void };

/**
 * Publishes the text of one answer of a model as `llm_delta` events: make a new one for each call, because the first event
 * says that the text starts over. Pieces that arrive faster than 20 a second are joined; `flush` publishes the rest when the
 * answer is complete. After `restart` the text starts over, as it does with a new answer; after `continue` it does not. It
 * needs no timer: the pieces of a slow model never wait.
 */
export function deltas(step: Step, context: StepContext): AnswerText {
  let pending = "";
  let isFirst = true;
  let publishedMs = -INTERVAL_MS;
  const publish = (text: string): void => {
    if (text === "") return;
    const first = isFirst ? { first: true as const } : {};
    context.note({ type: "llm_delta", orch_step_id: step.id, ...first, text });
    isFirst = false;
    pending = pending.slice(text.length);
    publishedMs = performance.now();
  };
  return {
    flush: () => publish(pending),
    restart() {
      pending = "";
      isFirst = true;
    },
    continue() {
      isFirst = false;
    },
    push(text) {
      pending += text;
      // Gateways divide a text between the two halves of a character. Half a character is none, once an event is bytes.
      if (performance.now() - publishedMs >= INTERVAL_MS) publish(pending.replace(HALF, ""));
    },
  };
}
