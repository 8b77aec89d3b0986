import { isObject, listOf, textOrJson } from "../../../shared/contracts/json.ts";
import { parseJson } from "../../engine/parse-json.ts";
import { textOf } from "../json-fields.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { OpenCall, ProviderReport } from "../provider-report.ts";

/**
 * The calls in a delta, for the SDK, which takes the first piece of a name for the whole name. So a call is held back until its
 * arguments begin: a name comes before its arguments, in one piece or in several.
 */
export function callsIn(delta: JsonObject, report: ProviderReport): JsonObject[] {
  return piecesOf(delta)
    .filter((piece) => !isSentAgain(piece, report))
    .flatMap((piece) => passOn(piece, report));
}

/** The calls that are held back when the stream ends: those without arguments. */
export function openCallsAtEnd(report: ProviderReport): JsonObject[] {
  const calls = report.openCalls.splice(0);
  // With empty arguments the SDK would take a call for a continuation of the call before it.
  return calls.map((call) => start({ ...call, args: call.args || "{}" }, report));
}

/** The pieces of calls in a delta. `function_call` is the older form of `tool_calls`. Some gateways write the list as JSON text. */
function piecesOf(delta: JsonObject): OpenCall[] {
  const text = textOf(delta["tool_calls"]);
  const written = text === undefined ? delta["tool_calls"] : parseJson(text);
  const calls = isObject(written) ? [written] : listOf(written);
  const old = delta["function_call"];
  const all = [...calls, ...(isObject(old) ? [{ index: 0, function: old }] : [])].filter(isObject);
  // Beside the calls in their own form, an item of the content is one of them once more.
  const used = all.length > 0 ? [] : listOf(delta["content"]).filter(isToolUse);
  return [...all, ...used.filter(isObject)].map(pieceOf);
}

/** Whether an item of the content is a call, as Anthropic writes it. Gateways pass it on. */
export function isToolUse(item: Json): boolean {
  return isObject(item) && item["type"] === "tool_use";
}

function pieceOf(call: JsonObject): OpenCall {
  const fn = [call["function"], call["custom"]].find(isObject) ?? call;
  const index = Number(call["index"] ?? Number.NaN);
  const name = textOf(fn["name"]);
  return {
    index: Number.isInteger(index) ? index : undefined,
    id: typeof call["id"] === "number" ? String(call["id"]) : textOf(call["id"]),
    names: name === undefined ? [] : [name],
    args: argumentsOf(fn["arguments"] ?? fn["parameters"] ?? fn["input"]),
    extra: isObject(call["extra_content"]) ? { extra_content: call["extra_content"] } : {},
  };
}

function passOn(piece: OpenCall, report: ProviderReport): JsonObject[] {
  const { openCalls, begunCalls, tools } = report;
  const open = openCalls.findLast(({ index }) => index === piece.index);
  if (open === undefined) {
    const isContinuation =
      begunCalls.has(piece.index) && (piece.names.length === 0 || isRepeated(piece, report));
    if (isContinuation || (piece.names.length > 0 && piece.args !== "")) return [start(piece, report)];
    openCalls.push(piece);
    return [];
  }
  if (isOther(open, piece, tools)) {
    openCalls.splice(openCalls.indexOf(open), 1);
    return [start(open, report), ...passOn(piece, report)];
  }
  open.id ??= piece.id;
  open.names.push(...piece.names);
  open.args += piece.args;
  open.extra = { ...open.extra, ...piece.extra };
  if (open.args === "" || open.names.length === 0) return [];
  openCalls.splice(openCalls.indexOf(open), 1);
  return [start(open, report)];
}

/**
 * Whether `piece` has once more all arguments of the call that has begun at its index. Gateways end a stream with such a summary, also as
 * JSON in JSON (BerriAI/litellm #20480). It is no second call.
 */
function isSentAgain({ index, id, names, args }: OpenCall, { begunCalls }: ProviderReport): boolean {
  const begun = begunCalls.get(index);
  if (begun === undefined || args.length < begun.args.length) return false;
  const isOfBegun = id === undefined ? names.length === 0 : id === begun.id;
  if (!isOfBegun || (args !== begun.args && parseJson(args) !== begun.args)) return false;
  return isObject(parseJson(begun.args));
}

/** Whether `piece` only repeats the name of the call that has begun at its index. */
function isRepeated({ index, id, args }: OpenCall, { begunCalls }: ProviderReport): boolean {
  return args === "" && (id === undefined || begunCalls.get(index)?.id === id);
}

/** Whether `piece` begins another call, although it has the index of a call that is held back. */
function isOther(open: OpenCall, piece: OpenCall, tools: readonly string[]): boolean {
  if (piece.names.length === 0 || open.names.length === 0) return false;
  if (open.id !== undefined && piece.id !== undefined && open.id !== piece.id) return true;
  const [before, after] = [nameIn(open.names, tools), nameIn(piece.names, tools)];
  return before !== after && [before, after].every((name) => tools.includes(name));
}

function start({ index, id, names, args, extra }: OpenCall, report: ProviderReport): JsonObject {
  const begun = report.begunCalls.get(index);
  const isOfBegun = begun !== undefined && (id === undefined || id === begun.id);
  report.begunCalls.set(index, isOfBegun ? { id: begun.id, args: begun.args + args } : { id, args });
  const name = names.length === 0 ? {} : { name: nameIn(names, report.tools) };
  return {
    ...(index === undefined ? {} : { index }),
    ...(id === undefined ? {} : { id }),
    type: "function",
    function: { ...name, arguments: args },
    ...extra,
  };
}

/** The name that pieces make: together, or the last one where servers repeat what they have sent before. */
function nameIn(names: readonly string[], tools: readonly string[]): string {
  const whole = names.join("");
  const last = names.at(-1) ?? "";
  if (tools.includes(whole)) return whole;
  return tools.includes(last) || last.startsWith(names[0] ?? "") ? last : whole;
}

/** OpenAI writes arguments as JSON text; some servers write the value itself. */
function argumentsOf(value: Json | undefined): string {
  return value === undefined || value === null ? "" : textOrJson(value);
}
