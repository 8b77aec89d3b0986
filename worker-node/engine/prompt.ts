import { joinWithin } from "./bounded-text.ts";
import { firstBytes, firstChars } from "../../shared/text/first-chars.ts";
import { templateOf } from "../../shared/contracts/definition/step.ts";
import { TerminalError } from "./step-errors.ts";
import { asText, valueAt } from "./run-state.ts";
import { renderTemplate } from "./render-template.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { StepContext } from "./ports.ts";

/** Characters of one value that go into a prompt; a note says how many are left out. */
const VALUE_CHARS = 50_000;
const GOAL_CHARS = 2_000;

/**
 * A step's prompt: the run's goal, the values of the step's `input_keys`, its own earlier result on a later visit, and its
 * task (the template, or the run's message without one). Keys that state does not have are left out: on a first visit,
 * later steps have not provided theirs yet. `ending`: sections after the task.
 * @throws TerminalError `template` when the prompt would be longer than 1 MiB, and when its template renders to nothing: a model would
 *   answer something, and its call be paid for
 */
export async function composePrompt(
  step: Step,
  template: string,
  context: StepContext,
  ending: readonly string[] = [],
): Promise<string> {
  const task = template.trim() === "" ? context.message : await renderTemplate(template, context);
  if (template.trim() !== "" && task.trim() === "") {
    throw blankTemplate(templateOf(step)?.field ?? "the template");
  }
  const sections: string[] = [];
  if (task !== context.message && context.message !== "") {
    sections.push(section("Goal of the workflow", clip(context.message, GOAL_CHARS)));
  }
  for (const key of new Set(step.input_keys)) {
    const value = await valueText(key, context);
    if (value !== "") sections.push(section(`Input: ${key}`, value));
  }
  if (step.output_key !== null && !step.input_keys.includes(step.output_key)) {
    const earlier = await valueText(step.output_key, context);
    if (earlier !== "")
      sections.push(section(`Present value of ${step.output_key}, which you replace`, earlier));
  }
  if ((step.type === "llm" || step.type === "evaluator") && sections.length === 0 && task.trim() === "") {
    throw new TerminalError(
      "template",
      "the step has nothing to ask: it has no template, the run no message, and state nothing under its input_keys",
    );
  }
  return joinWithin("the prompt", [...sections, section("Your task", task), ...ending], "\n\n");
}

/** The error of a template that has text, and nothing in it once its placeholders are filled in. */
export function blankTemplate(field: string): TerminalError {
  return new TerminalError(
    "template",
    `${field} renders to a blank text: its placeholders have empty values`,
  );
}

/** The value of a key of state as text; empty: state does not have the key, or the value is empty. */
async function valueText(key: string, context: StepContext): Promise<string> {
  const value = await valueAt(context.state, [key], context.load);
  return value === undefined ? "" : clip(asText(value), VALUE_CHARS);
}

function section(title: string, text: string): string {
  return `## ${title}\n${text}`;
}

/** The first `chars` characters of `text`, with a note of how many are left out. */
export function clip(text: string, chars: number): string {
  return noted(text, firstChars(text, chars));
}

/** The beginning of `text` with at most `bytes` bytes in UTF-8, with a note of how many characters are left out. */
export function clipBytes(text: string, bytes: number): string {
  return noted(text, firstBytes(text, bytes));
}

function noted(text: string, kept: string): string {
  return kept.length === text.length ? text : `${kept}\n[${text.length - kept.length} characters left out]`;
}
