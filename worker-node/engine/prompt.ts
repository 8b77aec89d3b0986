import { joinWithin } from "./bounded-text.ts";
import { firstBytes, firstChars } from "../../shared/text/first-chars.ts";
import { placeholdersOf } from "../../shared/contracts/definition/index.ts";
import { templateOf } from "../../shared/contracts/definition/step.ts";
import { TerminalError } from "./step-errors.ts";
import { asText, valueAt, valueOrFileAt } from "./run-state.ts";
import { renderTemplate } from "./render-template.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { StepContext } from "./ports.ts";
import type { Way } from "./way.ts";

/** Characters of one value that go into a prompt; a note says how many are left out. */
const VALUE_CHARS = 50_000;
const GOAL_CHARS = 2_000;
/** Characters of an answer or a reason that the step does not name, and the most of those answers: a definition may ask 200 times. */
const SAID_CHARS = 3_000;
const MAX_ANSWERS = 20;
/** The key of state that has the newest answer of a person, whatever step has asked. */
const NEWEST_ANSWER = "human_response";

/**
 * A step's prompt: the run's goal, what evaluators and persons have said on the way to the step, the values of the step's
 * `input_keys`, its own earlier result on a later visit, and its task (the template, or the run's message without one). Keys that
 * state does not have are left out: on a first visit, later steps have not provided theirs yet. `ending`: sections after the task.
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
  const way = context.way();
  sections.push(
    ...(await decisionsFor(step, way, context)),
    ...(await answersFor(step, template, way, context)),
  );
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

/**
 * The reasons of evaluators: of the one that has led to the step, and of those whose labels the step has as inputs. A label alone does
 * not say what to do better. An evaluator judges by its own prompt, and has only the reasons behind its inputs.
 */
async function decisionsFor(step: Step, { from, said }: Way, context: StepContext): Promise<string[]> {
  const sections: string[] = [];
  for (const evaluator of said) {
    const { id, type, output_key } = evaluator;
    const leadsHere = id === from?.id && step.type !== "evaluator";
    const isInput = output_key !== null && step.input_keys.includes(output_key);
    if (type !== "evaluator" || !(leadsHere || isInput)) continue;
    const reason = await saidText(`_routing_reasoning_${id}`, context);
    const label = await saidText(`_routing_decision_${id}`, context);
    if (reason !== "") sections.push(section(`Decision of ${nameOf(evaluator)}`, `${label}: ${reason}`));
  }
  return sections;
}

/**
 * What persons have answered in the run, where neither template nor inputs name it: a person that sends a run back says why. An
 * evaluator judges its inputs alone. The newest answer is the one in the state: of several branches that ask persons the last one's is
 * left there, so the step that asked is named only where no other one has asked.
 */
async function answersFor(
  step: Step,
  template: string,
  { said }: Way,
  context: StepContext,
): Promise<string[]> {
  const humans = said.filter(({ type }) => type === "human").slice(-MAX_ANSWERS);
  if (step.type === "evaluator" || humans.length === 0) return [];
  const read = new Set([
    ...step.input_keys,
    ...placeholdersOf(template).flatMap(({ path }) => path.slice(0, 1)),
  ]);
  const newest = await saidText(NEWEST_ANSWER, context);
  const isNewestRead = read.has(NEWEST_ANSWER);
  const sections: string[] = [];
  const keyed = humans.flatMap((one) => (one.output_key === null ? [] : [[one.output_key, one] as const]));
  let isNewestShown = isNewestRead || newest === "" || keyed.length === humans.length;
  for (const [key, human] of new Map(keyed)) {
    const answer = await saidText(key, context);
    const isRead = read.has(key) || (isNewestRead && answer === newest);
    if (answer !== "" && !isRead) sections.push(section(`Answer of a person in ${nameOf(human)}`, answer));
    isNewestShown ||= answer === newest;
  }
  const [only, ...others] = humans;
  const isCertain = only !== undefined && others.length === 0;
  const title = isCertain ? `Answer of a person in ${nameOf(only)}` : "Newest answer of a person";
  return isNewestShown ? sections : [...sections, section(title, newest)];
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

/** What an evaluator or a person has said, as far as a prompt that does not name it has it. A file is its reference: it may hold no text. */
async function saidText(key: string, { state, load }: StepContext): Promise<string> {
  return clip(asText((await valueOrFileAt(state, [key], load)) ?? null), SAID_CHARS);
}

function nameOf({ id, name }: Pick<Step, "id" | "name">): string {
  return name || id;
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
