import { ANSWER_TOOL, answerArguments } from "../../shared/contracts/definition/index.ts";
import { isObject, listOf, objectOf } from "../../shared/contracts/json.ts";
import { textOf } from "./model-call.ts";
import { jsonOfAnswer } from "./find-json.ts";
import { schemaFaults, SchemaTooComplex } from "./schema-check.ts";
import { TerminalError, ToolRejection } from "./step-errors.ts";
import { argumentsInCall, argumentsOf } from "./tool-arguments.ts";
import { typedValue } from "./typed-arguments.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Conversation } from "./conversation.ts";
import type { Answer } from "./conversation-turns.ts";
import type { Sandbox } from "./ports.ts";
import type { OfferedTool } from "./offered-tool.ts";

/** The most answers that do not fit the schema and are corrected; the next one fails the step. */
const MAX_REPAIRS = 1;
/** The most rounds of matching patterns: their results may lead to further patterns. */
const MAX_PATTERN_ROUNDS = 10;

/**
 * The tool by which a model answers in the form of `schema`. All providers take it, while each of them takes another part of
 * JSON Schema for answers of its own kind. It is never performed beside other calls: their results could change the answer.
 */
export function answerTool(schema: JsonObject): OfferedTool {
  const { parameters } = answerArguments(schema);
  return {
    spec: { name: ANSWER_TOOL, description: "Gives your final answer. Call it once, alone.", parameters },
    parallel: true,
    async perform() {
      throw new ToolRejection(
        `the answer was not taken: call ${ANSWER_TOOL} alone, when you have the results of all other calls`,
      );
    },
  };
}

/** Whether an answer is the final one: it calls no other tool. */
export function isFinal({ tool_calls }: Answer): boolean {
  return tool_calls.every(({ name }) => name === ANSWER_TOOL);
}

/**
 * The value in a final answer of a model. An answer that does not fit the schema gets the faults as its correction, once:
 * then the turn is committed, and null means that the model has to be called again.
 * @throws TerminalError `output_invalid` when the corrected answer does not fit either
 */
export async function takeOutput(
  answer: Answer,
  conversation: Conversation,
  schema: JsonObject,
  sandbox: Sandbox,
): Promise<{ value: Json } | null> {
  const found = valueIn(answer, answerArguments(schema).isInside);
  const faults = "fault" in found ? [found.fault] : await faultsOf(found.value, schema, sandbox);
  if ("value" in found && faults.length === 0) return found;
  const what = faults.join("; ");
  if (conversation.repairCount >= MAX_REPAIRS) {
    for (const value of "value" in found ? readingsOf(found.value, schema) : []) {
      if ((await faultsOf(value, schema, sandbox)).length === 0) return { value };
    }
    throw new TerminalError("output_invalid", `the answer does not fit output_schema: ${what}`);
  }
  const correction = `The answer was not taken: ${what}. Give the whole answer again, by a call of ${ANSWER_TOOL}.`;
  if (answer.tool_calls.length > 0) conversation.closeCalls(correction);
  else conversation.add({ role: "user", content: correction });
  await conversation.commit({ repair: true });
  return null;
}

function valueIn(answer: Answer, isInside: boolean): { value: Json } | { fault: string } {
  const [call, ...others] = answer.tool_calls;
  if (others.length > 0) return { fault: `${ANSWER_TOOL} was called ${answer.tool_calls.length} times` };
  if (call !== undefined) {
    const args = argumentsOf(call.args);
    if (args === null) return { fault: "the arguments must be one JSON object, at most 64 levels deep" };
    if (!isInside) return { value: args };
    const { value = onlyFieldOf(args) } = args;
    return value === undefined ? { fault: "the argument value is missing" } : { value };
  }
  const [written, ...more] = jsonOfAnswer(textOf(answer));
  if (written === undefined || more.length > 0)
    return { fault: `the text holds ${more.length === 0 ? "no JSON" : "more than one JSON value"}` };
  const value = argumentsInCall(written, ANSWER_TOOL) ?? written;
  const isWrapped = isInside && isObject(value) && Object.keys(value).join() === "value";
  return { value: isWrapped ? (value["value"] ?? null) : value };
}

/**
 * What a model that has been corrected may mean by a value that still does not fit: the value in the types of the schema, or what the one
 * field around it holds, which the schema does not know.
 */
function readingsOf(value: Json, schema: JsonObject): Json[] {
  const inner = isObject(value) ? onlyFieldOf(value) : undefined;
  const isKnown =
    isObject(value) && Object.keys(value).some((name) => Object.hasOwn(objectOf(schema["properties"]), name));
  const typed = typedValue(value, schema);
  return inner === undefined || isKnown ? [typed] : [typed, inner, typedValue(inner, schema)];
}

/** What an object with one field holds in it. */
function onlyFieldOf(object: JsonObject): Json | undefined {
  const [value, ...others] = Object.values(object);
  return others.length === 0 ? value : undefined;
}

/**
 * What is wrong with a value by a schema. Patterns are matched in the sandbox, which stops a pattern that takes too long. Each round
 * checks the value with the results that are known, and takes patterns without a result for a match.
 */
async function faultsOf(value: Json, schema: JsonObject, sandbox: Sandbox): Promise<string[]> {
  // By the pattern, then the text: a pattern may have 30 KiB, and 10,000 texts.
  const known = new Map<string, Map<string, boolean>>();
  try {
    for (let round = 1; round <= MAX_PATTERN_ROUNDS; round++) {
      const asked = new Map<string, Set<string>>();
      const faults = schemaFaults(value, schema, (pattern, text) => {
        const result = known.get(pattern)?.get(text);
        if (result === undefined) asked.set(pattern, (asked.get(pattern) ?? new Set()).add(text));
        return result ?? true;
      });
      if (asked.size === 0) return faults;
      const questions = Array.from(asked, ([pattern, texts]) => ({ pattern, texts: [...texts] }));
      const results = listOf(await sandbox.transform(MATCH_ALL, {}, { questions }));
      for (const [i, { pattern, texts }] of questions.entries()) {
        const ofPattern = known.get(pattern) ?? new Map<string, boolean>();
        known.set(pattern, ofPattern);
        for (const [k, text] of texts.entries()) ofPattern.set(text, listOf(results[i])[k] === true);
      }
    }
  } catch (error) {
    if (error instanceof SchemaTooComplex) throw unchecked("the schema is too complex", error);
    if (error instanceof TerminalError) throw unchecked("its patterns cannot be read in time", error);
    throw error;
  }
  throw unchecked(`its patterns depend on each other over ${MAX_PATTERN_ROUNDS} rounds`);
}

const MATCH_ALL = `result = questions.map(({ pattern, texts }) => {
  const form = new RegExp(pattern, "u");
  return texts.map((text) => form.test(text));
});`;

function unchecked(why: string, cause?: unknown): TerminalError {
  return new TerminalError("output_invalid", `the answer cannot be checked by output_schema: ${why}`, {
    cause,
  });
}
