import type { Step } from "../../shared/contracts/definition/index.ts";
import type { StepContext } from "./ports.ts";

/** At most 20 deltas a second for a step. */
const INTERVAL_MS = 50;

/**
 * Publishes a model's text as `llm_delta` events. Pieces that arrive faster than 20 a second are joined; `flush`
 * publishes the rest when the answer is complete. It needs no timer: the pieces of a slow model never wait.
 */
export function deltas(step: Step, context: StepContext): { push(text: string): void; flush(): void } {
  let pending = "";
  let publishedMs = -INTERVAL_MS;
  const flush = (): void => {
    if (pending === "") return;
    context.note({ type: "llm_delta", orch_step_id: step.id, text: pending });
    pending = "";
    publishedMs = performance.now();
  };
  return {
    flush,
    push(text) {
      pending += text;
      if (performance.now() - publishedMs >= INTERVAL_MS) flush();
    },
  };
}
