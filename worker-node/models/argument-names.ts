import { INNER, withInnerSchemas } from "../../shared/contracts/definition/tool-schema.ts";
import { isObject, objectOf } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { argumentsOf } from "../engine/tool-arguments.ts";
import { Place } from "./named-places.ts";
import type { Message, ToolSpec } from "../engine/ports.ts";

/** The names of properties that OpenAI and Anthropic take in a tool's schema; one other name fails every request that offers the tool. */
const SENDABLE = /^[a-zA-Z0-9_.-]{1,64}$/;
const MAX_CHARS = 60;

type Names = ReadonlyMap<string, string>;
/** The arguments of a tool by its own schema, with the own names that providers refuse: with those that are sent for them, and the other way round. */
type Renamed = { place: Place; toSent: Names; toOwn: Names };

/**
 * Tools whose arguments have names that providers refuse (`$filter`, `start date`), under names that they take. Arguments come back,
 * and go into a conversation, under the name that fits the reader: the tool's own, or the one that the model knows.
 */
export class ArgumentNames {
  readonly #byTool: ReadonlyMap<string, Renamed>;
  readonly tools: readonly ToolSpec[];

  constructor(tools: readonly ToolSpec[]) {
    this.#byTool = new Map(
      tools.flatMap(({ name, parameters }) => {
        const renamed = renamedIn(parameters);
        return renamed === null ? [] : [[name, renamed]];
      }),
    );
    this.tools = tools.map((tool) => {
      const names = this.#byTool.get(tool.name)?.toSent;
      return names === undefined ? tool : { ...tool, parameters: sentSchema(tool.parameters, names) };
    });
  }

  /** Arguments as the tool names them. */
  own(tool: string, args: Json): Json {
    const renamed = this.#byTool.get(tool);
    if (renamed === undefined) return args;
    return withNames(args, renamed.place, renamed, "own");
  }

  /** A message with the arguments of its calls as the model knows them. */
  sent(message: Message): Message {
    if (this.#byTool.size === 0 || message.role !== "assistant" || message.tool_calls === undefined)
      return message;
    const tool_calls = message.tool_calls.map((call) => {
      const renamed = this.#byTool.get(call.name);
      if (renamed === undefined) return call;
      const args = withNames(argumentsOf(call.args) ?? {}, renamed.place, renamed, "sent");
      return { ...call, args };
    });
    return { ...message, tool_calls };
  }
}

/** The names of a schema that providers refuse; null: there are none, as in most schemas of the tools that each call offers. */
function renamedIn(schema: JsonObject): Renamed | null {
  const own = new Set<string>();
  collect(schema, own);
  const used = new Set(own);
  /** The next number to try, by the name that is numbered: a schema may have thousands of names that become the same. */
  const next = new Map<string, number>();
  const pairs = [...own]
    .filter((name) => !SENDABLE.test(name))
    .map((name): [string, string] => {
      const base = name.replaceAll(/[^a-zA-Z0-9_.-]+/g, "_").slice(0, MAX_CHARS) || "_";
      let sent = base;
      for (let n = next.get(base) ?? 2; used.has(sent); n++) {
        sent = `${base}_${n}`;
        next.set(base, n + 1);
      }
      used.add(sent);
      return [name, sent];
    });
  if (pairs.length === 0) return null;
  const toOwn = new Map(pairs.map(([name, sent]) => [sent, name]));
  return { place: new Place([schema], schema), toSent: new Map(pairs), toOwn };
}

/** Collects the names of all properties in a schema. */
function collect(schema: Json, names: Set<string>): void {
  if (!isObject(schema)) return;
  for (const name of Object.keys(objectOf(schema["properties"]))) names.add(name);
  for (const keyword of INNER.table)
    for (const each of Object.values(objectOf(schema[keyword]))) collect(each, names);
  for (const keyword of INNER.one) collect(schema[keyword] ?? null, names);
  for (const keyword of INNER.list) {
    const list = schema[keyword];
    if (Array.isArray(list)) for (const each of list) collect(each, names);
  }
}

function sentSchema(schema: JsonObject, names: Names): JsonObject {
  const result = withInnerSchemas(schema, (inner) => sentSchema(inner, names));
  if (isObject(result["properties"])) {
    const entries = Object.entries(result["properties"]).map(([name, each]): [string, Json] => {
      const sent = names.get(name);
      return sent === undefined ? [name, each] : [sent, described(each, name)];
    });
    result["properties"] = Object.fromEntries(entries);
  }
  const { required } = result;
  if (Array.isArray(required))
    result["required"] = required.map((name) =>
      typeof name === "string" ? (names.get(name) ?? name) : name,
    );
  return result;
}

/** The tool's errors name its own arguments: the model must know them. */
function described(schema: Json, name: string): Json {
  if (!isObject(schema)) return schema;
  const { description } = schema;
  const more = typeof description === "string" && description !== "" ? `. ${description}` : "";
  return { ...schema, description: `The tool's own name for it is ${JSON.stringify(name)}${more}` };
}

/**
 * Renames the properties of a value that the schemas declare, into or from the names that are sent. Other keys stay: what a schema
 * leaves open is data, and may have any names.
 * @param place that of the value @param to the names of the result
 */
function withNames(value: Json, place: Place, renamed: Renamed, to: "own" | "sent"): Json {
  if (Array.isArray(value)) return value.map((each, i) => withNames(each, place.item(i), renamed, to));
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([key, each]): [string, Json] => {
    const own = to === "own" ? (renamed.toOwn.get(key) ?? key) : key;
    const declared = place.property(own);
    if (declared === null) return [key, withNames(each, place.others, renamed, to)];
    const name = to === "own" ? own : (renamed.toSent.get(own) ?? own);
    return [name, withNames(each, declared, renamed, to)];
  });
  return Object.fromEntries(entries);
}
