import { placeholdersOf } from "../../shared/contracts/definition/index.ts";
import { TerminalError } from "./step-errors.ts";
import { asText, valueAt } from "./run-state.ts";
import type { StepContext } from "./ports.ts";

/**
 * `template` with `{input}` (the run's message) and `{state.a.b}` replaced: text as it is, other values as JSON.
 * Replacements are not searched again, so a value cannot refer to another one.
 *
 * Throws the TerminalError `template` when state has no such key: a prompt with a gap is worse than a failed step.
 */
export async function renderTemplate(
  template: string,
  context: Pick<StepContext, "state" | "message" | "load">,
): Promise<string> {
  let rendered = "";
  let doneTo = 0;
  for (const { from, to, path } of placeholdersOf(template)) {
    const value = path === "input" ? context.message : await valueAt(context.state, path, context.load);
    if (value === undefined) {
      throw new TerminalError(
        "template",
        `the template reads ${template.slice(from, to)}, which state does not have`,
      );
    }
    rendered += template.slice(doneTo, from) + asText(value);
    doneTo = to;
  }
  return rendered + template.slice(doneTo);
}
