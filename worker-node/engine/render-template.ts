import { TextBudget } from "./bounded-text.ts";
import { TerminalError } from "./step-errors.ts";
import { parseTemplate } from "./parse-template.ts";
import { asText, valueOrFileAt, valueAt } from "./run-state.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { ParsedTemplate } from "./parse-template.ts";
import type { StepContext } from "./ports.ts";

type Values = Pick<StepContext, "state" | "message" | "load" | "loopVariables">;

/**
 * `template` with `{input}` (the run's message), `{state.a.b}`, and in a loop `{index}` and `{item.a}` replaced: text as it
 * is, other values as JSON. Replacements are not searched again, so a value cannot refer to another one.
 *
 * @throws TerminalError `template` when state has no such key, because a prompt with a gap is worse than a failed step; and before a text
 *   of more than 1 MiB is made
 */
export async function renderTemplate(template: string, values: Values): Promise<string> {
  const loopVariables = await values.loopVariables();
  const parsed = parseTemplate(template, { inLoop: Object.keys(loopVariables).length > 0 });
  const { literals, names } = parsed;
  const texts = await textsOf(parsed, { ...values, loopVariables });
  return literals.map((literal, i) => `${literal}${texts.get(names[i] ?? "") ?? ""}`).join("");
}

/** The text of each distinct placeholder. All of them together, as often as they are used, fit into 1 MiB. */
async function textsOf(
  { template, literals, distinct }: ParsedTemplate,
  values: Omit<Values, "loopVariables"> & { loopVariables: JsonObject },
): Promise<Map<string, string>> {
  const budget = new TextBudget("the rendered template");
  for (const literal of literals) budget.add(literal);
  const texts = new Map<string, string>();
  // Placeholders of one key come one after another, so that a large value is loaded once and held alone.
  let root: { name: string; value: Json | undefined } = { name: "input", value: values.message };
  for (const { name, rootName, first, times } of distinct) {
    const [key = "", ...rest] = first.path;
    if (root.name !== rootName) {
      const of = first.of === "loop" ? values.loopVariables : values.state;
      const value = first.of === "input" ? values.message : await valueOrFileAt(of, [key], values.load);
      root = { name: rootName, value };
    }
    const value = root.value === undefined ? undefined : await valueAt(root.value, rest, values.load);
    if (value === undefined) {
      const place = template.slice(first.from, first.to);
      const where = first.of === "loop" ? "this iteration" : "state";
      throw new TerminalError("template", `the template reads ${place}, which ${where} does not have`);
    }
    budget.expect(value, times);
    const text = asText(value);
    budget.add(text, times);
    texts.set(name, text);
  }
  return texts;
}
