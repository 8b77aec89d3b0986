import { isObject, listOf } from "../../../shared/contracts/json.ts";
import { textOf } from "../json-fields.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { ProviderReport } from "../provider-report.ts";

/**
 * Notes the items of the content. Mistral writes thoughts as items, and takes them back in no other field: then the whole list
 * goes back.
 */
export function noteItems(items: readonly JsonObject[], report: ProviderReport): void {
  for (const item of items) report.content = joined(report.content, item);
  if (items.some((item) => item["type"] !== "text") || report.opaque["content"] !== undefined)
    report.opaque["content"] = report.content;
}

/** The fields in which servers send thoughts. A server expects them back in the field that it used. */
const OPAQUE_TEXTS = ["reasoning_content", "reasoning", "reasoning_text", "reasoning_opaque", "thinking"];
const OPAQUE_LISTS = ["reasoning_details", "thinking_blocks"];

/** Notes the fields of a message, or of a piece of a message, that go back unchanged. */
export function noteOpaque(delta: JsonObject, report: ProviderReport): void {
  for (const name of OPAQUE_TEXTS) {
    const piece = textOf(delta[name]);
    if (piece !== undefined) report.opaque[name] = (textOf(report.opaque[name]) ?? "") + piece;
  }
  for (const name of OPAQUE_LISTS) {
    for (const item of listOf(delta[name])) report.opaque[name] = joined(listOf(report.opaque[name]), item);
  }
}

/** Adds an item to a list, or to its last item when it is a piece of that one. */
function joined(list: readonly Json[], item: Json): Json[] {
  const last = list.at(-1);
  if (!isObject(item) || !isObject(last) || !isPieceOf(last, item)) return [...list, item];
  const merged = { ...last };
  for (const [name, value] of Object.entries(item)) {
    const before = merged[name];
    if (Array.isArray(before) && Array.isArray(value)) {
      merged[name] = value.reduce<Json[]>(joined, before);
    } else {
      const isJoined = ["text", "summary", "data", "thinking"].includes(name);
      merged[name] =
        isJoined && typeof before === "string" && typeof value === "string" ? before + value : value;
    }
  }
  return [...list.slice(0, -1), merged];
}

/** Pieces of one item carry its `index`, or follow each other: a signature ends an item. */
function isPieceOf(last: JsonObject, item: JsonObject): boolean {
  if (item["type"] !== last["type"]) return false;
  if (item["index"] !== undefined) return item["index"] === last["index"];
  return (item["type"] === "text" || item["type"] === "thinking") && textOf(last["signature"]) === undefined;
}
