import type { ModelName } from "../../shared/contracts/model-name.ts";

/**
 * Anthropic's models before Claude 4.6 go on with a text at the end of the conversation; later ones refuse it
 * (platform.claude.com/docs, "Prefill Claude's response").
 */
const CONTINUING = /^claude-(?:3|(?:opus|sonnet|haiku)-4(?:-[015])?(?:-\d{8})?$)/;

/** Whether a model goes on with the beginning of its answer when that ends the conversation. */
export function continuesText({ provider, model }: ModelName): boolean {
  return provider === "anthropic" && CONTINUING.test(model);
}
