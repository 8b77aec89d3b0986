import { placeholdersOf } from "../../shared/contracts/definition/index.ts";
import { TerminalError } from "./errors.ts";
import { asText, lookUp } from "./run-state.ts";
import type { StepContext } from "./ports.ts";

/**
 * `template` with `{input}` (the run's message) and `{state.a.b}` replaced; text goes in as it is, other values as
 * JSON. What is put in is not searched again, so no value can name another.
 *
 * Fails with `template` where state has no such key: a prompt with a hole is worse than a failed step.
 */
export async function render(
  template: string,
  context: Pick<StepContext, "state" | "message" | "load">,
): Promise<string> {
  let rendered = "";
  let done = 0;
  for (const { from, to, path } of placeholdersOf(template)) {
    const value = path === "input" ? context.message : await lookUp(context.state, path, context.load);
    if (value === undefined) {
      throw new TerminalError(
        "template",
        `the template reads ${template.slice(from, to)}, which state does not have`,
      );
    }
    rendered += template.slice(done, from) + asText(value);
    done = to;
  }
  return rendered + template.slice(done);
}
