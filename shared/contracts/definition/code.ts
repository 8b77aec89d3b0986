import { definedBy, NAME_MAKERS } from "./code-names.ts";
import { nodesOf, parseScript } from "./code-nodes.ts";
import { dividesWithFloor, nestingOf, scriptOf } from "./condition.ts";
import { mistakeIn } from "./expression-mistakes.ts";
import { pythonHint } from "./python.ts";
import { syntaxHint } from "./syntax-hints.ts";
import { placeholdersOf } from "./template.ts";
import type { Placeholder } from "./template.ts";
import type { CodeNode } from "./code-nodes.ts";
import type { ConditionScript } from "./condition.ts";
import type { FieldError } from "../../errors.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { Step } from "./step.ts";

/** Limits of one code: a condition that a person writes has a line or two; a program may be longer, but not nested more deeply. */
const MAX_EXPRESSION_CHARS = 8_192;
const MAX_NESTING = 100;
/** All code of one definition: a save compiles it while other requests of the edge wait. */
const MAX_TOTAL_CHARS = 262_144;
/** The parser compares each named group of a pattern with all others. */
const MAX_NAMED_GROUPS = 100;
const NEAR_CHARS = 30;

/** The code of a step, and its field. An expression is the condition of an if_else step, or the value that a switch step compares. */
export type Code = { field: string; text: string; isExpression: boolean };

/**
 * Code that can never run: no JavaScript, or too long or nested too deep to be worth a worker's time. The error of a
 * syntax error has its step, line, column and the parser's sentence.
 */
export function codeErrors({ steps }: OrchestrationDocument): FieldError[] {
  const codes = steps.flatMap((step, index) => {
    const code = codeOf(step);
    return code === null ? [] : [{ ...code, step: step.id, path: `steps[${index}].${code.field}` }];
  });
  const chars = codes.reduce((sum, { text }) => sum + text.length, 0);
  if (chars > MAX_TOTAL_CHARS) {
    return [{ path: "steps", message: `may have at most ${MAX_TOTAL_CHARS} characters of code together` }];
  }
  return codes.flatMap(({ path, step, ...code }) => {
    const message = limitError(code) ?? syntaxError(code, step) ?? certainMistake(code);
    return message === null ? [] : [{ path, message }];
  });
}

/** Why a text is no expression that the sandbox can evaluate; null: it is one. */
export function expressionError(text: string): string | null {
  const code = { field: "", text, isExpression: true };
  const fault = limitError(code) === null ? faultOf(scriptOf(text).script) : null;
  return limitError(code) ?? (fault === null ? certainMistake(code) : `has a syntax error: ${fault.message}`);
}

function limitError({ text, isExpression }: Code): string | null {
  if (isExpression && text.length > MAX_EXPRESSION_CHARS) {
    return `must be at most ${MAX_EXPRESSION_CHARS} characters: use a transform step for more`;
  }
  if (nestingOf(text) > MAX_NESTING) return `must have at most ${MAX_NESTING} brackets inside each other`;
  return text.split("(?<").length > MAX_NAMED_GROUPS
    ? `must have at most ${MAX_NAMED_GROUPS} named groups in its patterns`
    : null;
}

function syntaxError({ text, isExpression }: Code, step: string): string | null {
  const { script, offsetOf } = scriptOfCode({ text, isExpression });
  const fault = faultOf(script);
  if (fault === null) return isExpression ? null : unsetResult(text);
  const offset = Math.min(offsetOf(fault.offset), text.length);
  const rest = text.slice(offset).trimEnd();
  const near = rest === "" ? "at the end" : `near ${JSON.stringify(rest.slice(0, NEAR_CHARS))}`;
  const ofLanguage = isExpression ? placeHint(text) : pythonHint(text);
  const hint = ofLanguage || syntaxHint(text, offset, { isExpression });
  return `step "${step}" has a syntax error in ${lineAndColumn(text, offset)}: ${fault.message}, ${near}${hint}`;
}

/** The line and the column of an offset in a text. */
export function lineAndColumn(text: string, offset: number): string {
  const before = text.slice(0, offset).split(/\r\n|[\n\r\u2028\u2029]/);
  return `line ${before.length}, column ${(before.at(-1) ?? "").length + 1}`;
}

/** The script that the sandbox compiles for this code, and the function that finds an offset of the script in the code. */
export function scriptOfCode({ text, isExpression }: Omit<Code, "field">): ConditionScript {
  return isExpression ? scriptOf(text) : { script: text, offsetOf: Number };
}

/**
 * The error of an expression that compiles and can only be a mistake; null: it has none. A placeholder in quotes is compared as it is
 * written. A function with a body of its own may assign to its variables.
 */
function certainMistake({ field, text, isExpression }: Code): string | null {
  if (!isExpression) return null;
  if (dividesWithFloor(text)) return "has //, which begins a comment in JavaScript: write Math.floor(a / b)";
  const nodes = nodesOf(parseScript(scriptOf(text).script), ({ type }) => type !== "BlockStatement");
  const mistake = mistakeIn(nodes, { isCondition: field === "if_condition" });
  const [first] = nodes.flatMap(textsIn).flatMap((part) => placeholdersOf(part));
  return first === undefined ? mistake : placeError(first);
}

function placeError({ of, path }: Placeholder): string {
  const key = path.join(".");
  const [place, instead] = of === "input" ? ["input", "user_input"] : [`state.${key}`, key];
  return `{${place}} is no placeholder in an expression: write state.${instead}, without quotes and braces`;
}

/** The end of the error of an expression that has a placeholder and therefore does not compile. */
function placeHint(expression: string): string {
  const [first] = placeholdersOf(expression);
  return first === undefined ? "" : `. ${placeError(first)}`;
}

/** The texts of the strings in a program that compiles. */
export function textsInCode(code: Code): string[] {
  return nodesOf(parseScript(scriptOfCode(code).script)).flatMap(textsIn);
}

/** The text of a string, or of a part of a template literal. */
function textsIn({ value }: CodeNode): string[] {
  const text = typeof value === "object" && value !== null && "cooked" in value ? value.cooked : value;
  return typeof text === "string" ? [text] : [];
}

/**
 * The error of a program that cannot set `result`; null: it may. A program that makes names by other means, or that throws, may have no
 * assignment.
 */
function unsetResult(program: string): string | null {
  const nodes = nodesOf(parseScript(program));
  if (nodes.some(({ type, name }) => MAY_SET.has(type) || NAME_MAKERS.has(String(name)))) return null;
  const defined = nodes.flatMap(definedBy);
  if (defined.includes("result")) return null;
  const meant = defined.find((name) => name.toLowerCase() === "result");
  return `never sets \`result\`${meant === undefined ? "" : `, and ${meant} is another name`}`;
}

const MAY_SET: ReadonlySet<string> = new Set(["ThrowStatement", "ThisExpression", "WithStatement"]);

/**
 * Why a script is no JavaScript, by acorn: the edge cannot run QuickJS, which executes the code. The version is the
 * newest of which QuickJS reads the whole syntax. A test compares both.
 */
export function faultOf(script: string): { message: string; offset: number } | null {
  try {
    parseScript(script);
    return null;
  } catch (error) {
    // Patterns and comments can exhaust the parser's stack in a way that it does not report itself.
    if (error instanceof RangeError) return { message: "The code is nested too deep", offset: 0 };
    if (!(error instanceof SyntaxError)) throw error;
    const offset = "pos" in error && typeof error.pos === "number" ? error.pos : 0;
    return { message: error.message.replace(/ \(\d+:\d+\)$/, ""), offset };
  }
}

/** The code of a step; null: its type has none. */
export function codeOf(step: Step): Code | null {
  switch (step.type) {
    case "if_else":
      return { field: "if_condition", text: step.if_condition, isExpression: true };
    case "switch":
      return { field: "switch_expression", text: step.switch_expression, isExpression: true };
    case "transform":
      return { field: "transform_code", text: step.transform_code, isExpression: false };
    default:
      return null;
  }
}
