import type { Step } from "../../shared/contracts/definition/index.ts";
import type { StepContext } from "./ports.ts";

/** At most 20 deltas a second for a step. */
const INTERVAL_MS = 50;

/**
 * Shows a model's text as `llm_delta` events. Pieces that come faster than 20 a second are gathered; `flush` shows
 * what is left when the answer is complete. Needs no timer: a slow model's pieces are never held.
 */
export function deltas(step: Step, context: StepContext): { push(text: string): void; flush(): void } {
  let gathered = "";
  let shownAt = -INTERVAL_MS;
  const flush = (): void => {
    if (gathered === "") return;
    context.note({ type: "llm_delta", orch_step_id: step.id, text: gathered });
    gathered = "";
    shownAt = performance.now();
  };
  return {
    flush,
    push(text) {
      gathered += text;
      if (performance.now() - shownAt >= INTERVAL_MS) flush();
    },
  };
}
