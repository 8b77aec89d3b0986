import { setTimeout as sleep } from "node:timers/promises";
import { TerminalError } from "../engine/errors.ts";
import { costMicroUsd } from "./cost.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Message, ModelAnswer, ModelRequest, ToolCall, ToolSpec } from "../engine/ports.ts";

/** Milliseconds between two pieces of text, by the name behind `demo/`. */
const PACES: ReadonlyMap<string, number> = new Map([
  ["fast", 0],
  ["writer", 60],
  ["slow", 200],
]);
/** Text comes in pieces of so many words. */
const PIECE = 3;
const LABEL = "[demo model]";

/**
 * A scripted model, for a system that has no provider's key yet: `demo/writer`, `demo/fast`, `demo/slow`. Needs no
 * network, answers the same to the same, streams at a pace, and says what it is in each of its texts.
 *
 * Its script: a tool that it is offered and has not called yet, it calls once. Of several routes it takes, the first
 * time, one whose name asks for more work, then one that goes on. Else it writes about its task.
 */
export async function generateDemo(model: string, request: ModelRequest): Promise<ModelAnswer> {
  const paceMs = PACES.get(model);
  if (paceMs === undefined) {
    const known = [...PACES.keys()].map((name) => `demo/${name}`).join(", ");
    throw new TerminalError("unknown_model", `there is no model demo/${model}; there are ${known}`);
  }
  const call = nextCall(request);
  const text = call === null ? write(request.messages) : "";
  await (call === null ? stream(text, paceMs, request) : pause(paceMs * 4, request.signal));
  const input = request.messages.map((message) => message.content).join(" ");
  const tokens = {
    input: tokensOf(input),
    cachedInput: 0,
    output: tokensOf(text) + (call === null ? 0 : 20),
  };
  return {
    text,
    tool_calls: call === null ? [] : [call],
    usage: {
      provider: "demo",
      model,
      input_tokens: tokens.input,
      output_tokens: tokens.output,
      cost_micro_usd: costMicroUsd("demo", tokens),
    },
  };
}

async function stream(text: string, paceMs: number, { signal, onText }: ModelRequest): Promise<void> {
  const words = text.split(/(?<=\s)/);
  for (let at = 0; at < words.length; at += PIECE) {
    await pause(paceMs, signal);
    onText(words.slice(at, at + PIECE).join(""));
  }
}

/** Waits; an abort ends it with the signal's own reason. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (ms === 0) return;
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}

/** Four characters a token, as estimates go. */
function tokensOf(text: string): number {
  return Math.ceil(text.length / 4);
}

function nextCall({ messages, tools }: ModelRequest): ToolCall | null {
  const called = new Set(messages.flatMap((message) => (message.role === "tool" ? [message.tool_name] : [])));
  const tool = tools.find((spec) => !called.has(spec.name));
  if (tool === undefined) return null;
  return { id: `demo_${called.size + 1}`, name: tool.name, args: argsOf(tool, said(messages)) };
}

/** Arguments of the shape that a tool asks for: a choice where there is one, the task where text is wanted. */
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

const MORE_WORK = /need|more|revis|again|insufficient|reject/i;
/** How a prompt tells that its step has run before. */
const SECOND_LOOK = /^## Present value of /m;

function choose(choices: readonly Json[], prompt: string): Json {
  const wantsMore = (choice: Json): boolean => MORE_WORK.test(JSON.stringify(choice));
  const goesOn = choices.find((choice) => !wantsMore(choice)) ?? choices[0] ?? null;
  return SECOND_LOOK.test(prompt) ? goesOn : (choices.find(wantsMore) ?? goesOn);
}

function write(messages: readonly Message[]): string {
  const task = taskOf(said(messages));
  const found = messages.filter((message) => message.role === "tool").map((message) => message.content);
  const paragraphs = [
    `${LABEL} This text is scripted: no language model has written it. The task was: ${firstLine(task)}`,
    ...(found.length > 0 ? [`A tool has answered: ${clip(found.join(" "), 400)}`] : []),
    "A real model would now do the task. Set OPENAI_API_KEY, ANTHROPIC_API_KEY or GOOGLE_GENERATIVE_AI_API_KEY and " +
      "start again, and it will; the steps, the events and the checkpoints around it are the same ones.",
    ...filler(taskOf(said(messages))),
  ];
  return paragraphs.join("\n\n");
}

/** A task that asks for "about 200 words" gets some: a run that is to be watched has to take its time. */
function filler(task: string): string[] {
  const words = Math.min(2_000, Number(/about (\d+) words/.exec(task)?.[1] ?? 0));
  const sentences = Math.floor(words / 10);
  return Array.from(
    { length: sentences },
    (_, i) => `This is sentence ${i + 1} of ${sentences} of the scripted text.`,
  );
}

/** The last thing that a person or a step has said. */
function said(messages: readonly Message[]): string {
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

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
