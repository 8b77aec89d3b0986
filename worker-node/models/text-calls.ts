import { argumentsOf } from "../engine/tool-arguments.ts";
import { jsonValuesIn } from "../engine/json-values.ts";
import { parseJson } from "../engine/parse-json.ts";
import { isObject, listOf, objectOf } from "../../shared/contracts/json.ts";
import { toolNameOf } from "./tool-name.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { ToolSpec } from "../engine/ports.ts";

/** A call that a model has written as text. */
export type TextCall = { name: string; args: JsonObject };

/** The most characters of a text that is read as calls. */
const MAX_CHARS = 1_000_000;

/** The characters of a text, from its first one, that show whether it begins as a call does. */
export const BEGINNING_CHARS = 1_000;

/** What stands around calls in the languages of models: of Qwen, GLM, Mistral, Llama, Granite, Phi, Kimi, DeepSeek, MiniMax, Gemma and Cohere. */
const MARKS = [
  "<tool_call>",
  "</tool_call>",
  "<tool_calls>",
  "</tool_calls>",
  "<|tool_call|>",
  "<|/tool_call|>",
  "<|tool_calls|>",
  "<|/tool_calls|>",
  "[TOOL_CALLS]",
  "[/TOOL_CALLS]",
  "<|python_tag|>",
  "<function_calls>",
  "</function_calls>",
  "<minimax:tool_call>",
  "</minimax:tool_call>",
  "<|tool_calls_section_begin|>",
  "<|tool_calls_section_end|>",
  "<|tool_call_begin|>",
  "<|tool_call_end|>",
  "<｜tool▁calls▁begin｜>",
  "<｜tool▁calls▁end｜>",
  "<｜tool▁call▁begin｜>",
  "<｜tool▁call▁end｜>",
  "<|tool_call>",
  "<tool_call|>",
  "<|START_ACTION|>",
  "<|END_ACTION|>",
];
const FUNCTIONS = ["<function=", "<invoke name="];
/** DeepSeek writes it into each of its marks, which are like those of MiniMax; servers write the bars in several ways. */
const DSML = /\s?(?:[|｜‖]{1,2})\s?DSML\s?(?:[|｜‖]{1,2})\s?/g;
const DSML_BEGINNINGS = ["｜", "｜｜", "|", "||", " | ", "‖"].map((bars) => `<${bars}DSML${bars}`);
/** What a call begins with where it has a mark. */
export const CALL_MARKS: readonly string[] = [...MARKS, ...FUNCTIONS, ...DSML_BEGINNINGS].filter(
  (mark) => !/^[<[]\|?\//.test(mark),
);

const SPACE = /[\s,;]*/y;
const FENCE = /```\w*/y;
const FUNCTION = /<(?:function=|invoke name=)"?([\w.:/-]{1,200})"?\s*>\s*/y;
const FUNCTION_END = /\s*<\/(?:function|invoke)>/y;
const PARAMETER = /\s*<parameter(?:=|\s+name=)"?([^\s">]{1,200})"?[^<>]{0,100}>/y;
const GLM_PAIR = /\s*<arg_key>([^<]{1,200})<\/arg_key>\s*<arg_value>/y;
const GLM_END = /\s*<\/tool_call>/y;
const NAME = /(?:function<｜tool▁sep｜>|call:)?([\w.:/-]{1,200})\s*/y;
const AFTER_NAME =
  /(?:(?:\[CALL_ID\]\w{0,100})?\[ARGS\]|<\|tool_call_argument_begin\|>|<｜tool▁sep｜>|```json)?\s*/y;
const GEMMA_PIECE = /<\|"\|>([^<]*(?:<(?!\|"\|>)[^<]*)*)<\|"\|>|([{,]\s*)(\w{1,200})\s*:/g;

/** The fields of a call in JSON. JSON with any other field is no call. */
const FIELDS = new Set([
  "type",
  "id",
  "index",
  "function",
  "name",
  "arguments",
  "parameters",
  "tool_name",
  "tool_call_id",
  "tool_calls",
]);

/**
 * The calls that a text consists of: a server that does not know its model's language passes its calls on as text. Null: the text is
 * text, because there is anything beside calls in it, or a call names no tool that was offered, or its arguments are no object.
 */
export function callsInText(text: string, tools: readonly ToolSpec[]): TextCall[] | null {
  if (!mayBeCalls(text) || text.length > MAX_CHARS) return null;
  return new CallReader(text.replaceAll(DSML, ""), tools).read();
}

/** Whether a text, of which more may follow, begins as a call does. */
export function mayBeCalls(text: string): boolean {
  const begun = text.slice(0, BEGINNING_CHARS).trimStart();
  if (CALL_MARKS.some((mark) => begun.startsWith(mark) || mark.startsWith(begun))) return true;
  if ("```".startsWith(begun)) return true;
  const inner = begun.replace(/^```\w*\s*/, "").replace(/^\[\s*/, "");
  if (inner === "") return true;
  const [whole, name = "", closing] = /^\{\s*(?:"(\w*)("?))?/.exec(inner) ?? [];
  if (whole === undefined) return false;
  if (closing === '"') return FIELDS.has(name);
  return whole.length === inner.length && [...FIELDS].some((field) => field.startsWith(name));
}

/** A call that was sent to a name, if that is one of the tools and the arguments are an object. */
export function callOfTool(name: string, args: Json, tools: readonly ToolSpec[]): TextCall | null {
  const names = tools.map((tool) => tool.name);
  const own = toolNameOf(name, names);
  const object = typeof args === "string" && args.trim() === "" ? null : argumentsOf(args);
  return args === null || object === null || !names.includes(own) ? null : { name: own, args: object };
}

/** Reads the calls of a text from its beginning to its end, each part once. */
class CallReader {
  readonly #text: string;
  readonly #tools: readonly ToolSpec[];
  readonly #jsonEnds: ReadonlyMap<number, number>;
  readonly #calls: TextCall[] = [];
  #at = 0;
  /** A mark stands before `#at`: a name may follow. Without any mark the text may be JSON of something else. */
  #isAfterMark = false;
  #hasMark = false;

  constructor(text: string, tools: readonly ToolSpec[]) {
    this.#text = text;
    this.#tools = tools;
    this.#jsonEnds = new Map(jsonValuesIn(text).map(({ from, to }) => [from, to]));
  }

  read(): TextCall[] | null {
    for (;;) {
      this.#skip(SPACE);
      if (this.#at === this.#text.length) return this.#calls.length === 0 ? null : this.#calls;
      if (this.#mark()) continue;
      const read = this.#json() ?? this.#function() ?? this.#named();
      if (read === null || read.some((call) => call === null)) return null;
      this.#calls.push(...read.filter((call) => call !== null));
      this.#isAfterMark = false;
    }
  }

  #mark(): boolean {
    const mark = MARKS.find((each) => this.#text.startsWith(each, this.#at));
    if (mark === undefined) return this.#skip(FENCE) !== null;
    this.#at += mark.length;
    this.#isAfterMark = true;
    this.#hasMark = true;
    return true;
  }

  /** Calls in JSON. Null: there is no JSON here; an item of null is no call. */
  #json(): (TextCall | null)[] | null {
    const value = this.#jsonValue();
    if (value === undefined) return null;
    const calls = isObject(value) && Array.isArray(value["tool_calls"]) ? value["tool_calls"] : value;
    return Array.isArray(calls) ? calls.map((call) => this.#callIn(call)) : [this.#callIn(calls)];
  }

  #jsonValue(): Json | undefined {
    const to = this.#jsonEnds.get(this.#at);
    if (to === undefined) return undefined;
    const value = parseJson(this.#text.slice(this.#at, to));
    if (value !== undefined) this.#at = to;
    return value;
  }

  #callIn(value: Json): TextCall | null {
    if (!isObject(value) || !Object.keys(value).every((field) => FIELDS.has(field))) return null;
    const fn = isObject(value["function"]) ? value["function"] : value;
    const name = fn["name"] ?? fn["tool_name"];
    const args = fn["arguments"] ?? fn["parameters"] ?? null;
    if (typeof name !== "string") return null;
    // A tool's definition has the schema of its arguments in this field.
    const isDefinition = isObject(args) && args["type"] === "object" && isObject(args["properties"]);
    const isOwnName = this.#hasMark || this.#tools.some((tool) => tool.name === name);
    return isOwnName && !isDefinition ? callOfTool(name, args, this.#tools) : null;
  }

  #function(): (TextCall | null)[] | null {
    const name = this.#skip(FUNCTION)?.[1];
    if (name === undefined) return null;
    const json = this.#jsonValue();
    const args = json ?? this.#pairs(PARAMETER, "</parameter>", name);
    this.#skip(FUNCTION_END);
    return [callOfTool(name, args, this.#tools)];
  }

  #named(): (TextCall | null)[] | null {
    const name = this.#isAfterMark ? this.#skip(NAME)?.[1] : undefined;
    if (name === undefined) return null;
    this.#skip(AFTER_NAME);
    const json = this.#jsonValue();
    if (json !== undefined) return [callOfTool(name, json, this.#tools)];
    if (this.#text[this.#at] === "{") return [callOfTool(name, this.#gemma(), this.#tools)];
    const pairs = this.#pairs(GLM_PAIR, "</arg_value>", name);
    return this.#skip(GLM_END) === null ? null : [callOfTool(name, pairs, this.#tools)];
  }

  /** Gemma's arguments, whose names have no quotes, and whose texts stand between marks. Null: they cannot be read. */
  #gemma(): Json {
    const to = this.#text.indexOf("<tool_call|>", this.#at);
    if (to < 0) return null;
    const written = this.#text.slice(this.#at, to);
    this.#at = to;
    const json = written.replaceAll(GEMMA_PIECE, (piece, text?: string, before?: string, name?: string) =>
      text === undefined ? (name === undefined ? piece : `${before}"${name}":`) : JSON.stringify(text),
    );
    return parseJson(json) ?? null;
  }

  /** Arguments as pairs of marks. Null: one of them has no end. */
  #pairs(mark: RegExp, end: string, tool: string): JsonObject | null {
    const pairs: [string, Json][] = [];
    for (let name = this.#skip(mark)?.[1]; name !== undefined; name = this.#skip(mark)?.[1]) {
      const to = this.#text.indexOf(end, this.#at);
      if (to < 0) return null;
      const value = this.#text
        .slice(this.#at, to)
        .replace(/^\r?\n/, "")
        .replace(/\r?\n$/, "");
      pairs.push([name, this.#typed(value, tool, name)]);
      this.#at = to + end.length;
    }
    return Object.fromEntries(pairs);
  }

  /** A value of the type that the tool's schema has: text stays text. */
  #typed(value: string, tool: string, name: string): Json {
    const own = toolNameOf(
      tool,
      this.#tools.map((each) => each.name),
    );
    const parameters = this.#tools.find((each) => each.name === own)?.parameters;
    const schema = objectOf(objectOf(parameters?.["properties"])[name]);
    const types = Array.isArray(schema["type"]) ? listOf(schema["type"]) : [schema["type"] ?? null];
    return types.includes("string") ? value : (parseJson(value) ?? value);
  }

  #skip(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#text);
    if (match !== null) this.#at += match[0].length;
    return match;
  }
}
