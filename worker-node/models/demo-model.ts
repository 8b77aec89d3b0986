import { setTimeout as sleep } from "node:timers/promises";
import { TerminalError } from "../engine/step-errors.ts";
import { costMicroUsd } from "./cost.ts";
import type { ReplacedPrices } from "../../shared/contracts/model-price.ts";
import { isObject } from "../../shared/contracts/json.ts";
import { estimatedTokens } from "./token-count.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Message, ModelAnswer, ModelRequest, ToolCall, ToolSpec } from "../engine/ports.ts";

/** The pause before each piece of text, in milliseconds, by the model's name after `demo/`. */
const PACE_MS_BY_MODEL: ReadonlyMap<string, number> = new Map([
  ["fast", 0],
  ["writer", 60],
  ["slow", 200],
]);
const WORDS_PER_PIECE = 3;
const LABEL = "[demo model]";

/**
 * A scripted model, for a system without a provider's API key: `demo/writer`, `demo/fast`, `demo/slow`. It needs no
 * network, gives the same answer to the same request, streams at a fixed pace, and labels each text as scripted.
 *
 * It calls each offered tool once. When a tool's argument is a choice, it chooses a value whose name asks for more work
 * the first time, and a value that goes on when the step has run before. With no tool left to call it writes a text
 * about its task.
 * @throws TerminalError `unknown_model` for another name
 */
export async function generateDemo(
  model: string,
  request: ModelRequest,
  replaced?: ReplacedPrices,
): Promise<ModelAnswer> {
  const paceMs = PACE_MS_BY_MODEL.get(model);
  if (paceMs === undefined) {
    const known = [...PACE_MS_BY_MODEL.keys()].map((name) => `demo/${name}`).join(", ");
    throw new TerminalError("unknown_model", `there is no model demo/${model}; there are ${known}`);
  }
  const call = nextToolCall(request);
  const text = call === null ? writeText(request.messages) : "";
  const input = estimatedTokens(request.messages.map((message) => message.content).join(" ").length);
  const usageOf = (output: number): ModelAnswer["usage"] => {
    const tokens = { input, cachedInput: 0, output };
    const cost_micro_usd = costMicroUsd({ provider: "demo", model }, tokens, replaced);
    return { provider: "demo", model, input_tokens: input, output_tokens: output, cost_micro_usd };
  };
  request.onUsage?.(usageOf(0));
  await (call === null
    ? stream(text, paceMs, request, (chars) => request.onUsage?.(usageOf(estimatedTokens(chars))))
    : pause(paceMs * 4, request.signal));
  const usage = usageOf(estimatedTokens(text.length) + (call === null ? 0 : 20));
  if (usage.output_tokens > (request.maxOutputTokens ?? Infinity)) {
    request.onUsage?.(usage);
    throw new TerminalError("output_limit", `demo/${model}: the answer was cut off at the output limit`);
  }
  return { text, tool_calls: call === null ? [] : [call], usage };
}

/** `onWritten` gets the characters that are written so far. */
async function stream(
  text: string,
  paceMs: number,
  { signal, onText }: ModelRequest,
  onWritten: (chars: number) => void,
): Promise<void> {
  const words = text.split(/(?<=\s)/);
  let chars = 0;
  for (let at = 0; at < words.length; at += WORDS_PER_PIECE) {
    await pause(paceMs, signal);
    const piece = words.slice(at, at + WORDS_PER_PIECE).join("");
    chars += piece.length;
    onWritten(chars);
    onText(piece);
  }
}

/** Waits `ms`. An abort throws the reason of the signal. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (ms === 0) return;
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}

function nextToolCall({ messages, tools }: ModelRequest): ToolCall | null {
  const called = new Set(messages.flatMap((message) => (message.role === "tool" ? [message.tool_name] : [])));
  const tool = tools.find((spec) => !called.has(spec.name));
  if (tool === undefined) return null;
  return { id: `demo_${called.size + 1}`, name: tool.name, args: argsOf(tool, lastPrompt(messages)) };
}

/** Arguments that fit the tool's schema: a choice for an enum, the task for a text. */
function argsOf(tool: ToolSpec, prompt: string): JsonObject {
  const properties = tool.parameters["properties"];
  if (!isObject(properties)) return {};
  return Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [name, argOf(schema, prompt)]),
  );
}

function argOf(schema: Json, prompt: string): Json {
  if (!isObject(schema)) return null;
  const choices = schema["enum"];
  if (Array.isArray(choices)) return choose(choices, prompt);
  switch (schema["type"]) {
    case "number":
    case "integer":
      return 3;
    case "boolean":
      return true;
    case "array":
      return [];
    case "object":
      return {};
    default:
      return `${LABEL} ${firstLine(taskOf(prompt))}`;
  }
}

const ASKS_FOR_MORE_WORK = /need|more|revis|again|insufficient|reject/i;
/** In the prompt of a step that has run before. */
const PREVIOUS_RESULT = /^## Present value of /m;

function choose(choices: readonly Json[], prompt: string): Json {
  const wantsMore = (choice: Json): boolean => ASKS_FOR_MORE_WORK.test(JSON.stringify(choice));
  const goesOn = choices.find((choice) => !wantsMore(choice)) ?? choices[0] ?? null;
  return PREVIOUS_RESULT.test(prompt) ? goesOn : (choices.find(wantsMore) ?? goesOn);
}

function writeText(messages: readonly Message[]): string {
  const task = taskOf(lastPrompt(messages));
  const toolResults = messages.filter((message) => message.role === "tool").map((message) => message.content);
  const paragraphs = [
    `${LABEL} This text is scripted: no language model has written it. The task was: ${firstLine(task)}`,
    ...(toolResults.length > 0 ? [`A tool has answered: ${clip(toolResults.join(" "), 400)}`] : []),
    "A real model would now do the task. Set OPENAI_API_KEY, ANTHROPIC_API_KEY or GOOGLE_GENERATIVE_AI_API_KEY and " +
      "start again, and it will; the steps, the events and the checkpoints around it are the same ones.",
    ...filler(task),
  ];
  return paragraphs.join("\n\n");
}

/** Sentences for a task that asks for "about 200 words": a run that a person watches must take some time. */
function filler(task: string): string[] {
  const words = Math.min(2_000, Number(/about (\d+) words/.exec(task)?.[1] ?? 0));
  const sentences = Math.floor(words / 10);
  return Array.from(
    { length: sentences },
    (_, i) => `This is sentence ${i + 1} of ${sentences} of the scripted text.`,
  );
}

/** The last message of a person or a step. */
function lastPrompt(messages: readonly Message[]): string {
  return messages.findLast((message) => message.role === "user")?.content ?? "";
}

function taskOf(prompt: string): string {
  const title = "## Your task\n";
  const at = prompt.lastIndexOf(title);
  return at < 0 ? prompt : prompt.slice(at + title.length);
}

function firstLine(text: string): string {
  return clip(text.trim().split("\n", 1)[0] ?? "", 200);
}

function clip(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, chars)}…`;
}
