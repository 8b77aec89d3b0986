import { isObject, listOf } from "../../../shared/contracts/json.ts";
import { textOf } from "../json-fields.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { ProviderReport } from "../provider-report.ts";

/**
 * Notes the items of the content. Mistral writes thoughts as items, and takes them back in no other field: then the whole list
 * goes back.
 */
export function noteItems(items: readonly JsonObject[], report: ProviderReport): void {
  for (const item of items) join(report.content, item);
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
    if (piece === undefined) continue;
    report.opaque[name] = (textOf(report.opaque[name]) ?? "") + piece;
    report.thoughtBytes += Buffer.byteLength(piece);
  }
  for (const name of OPAQUE_LISTS) {
    const items = listOf(delta[name]);
    if (items.length === 0) continue;
    const list = listOf(report.opaque[name]);
    for (const item of items) join(list, item);
    report.opaque[name] = list;
    report.thoughtBytes += Buffer.byteLength(JSON.stringify(items));
  }
}

/**
 * Adds an item to a list, or to its last item when it is a piece of that one. The list is changed, and the items in it: a copy
 * for each piece of a long thought would take a time that grows with its square.
 */
function join(list: Json[], item: Json): void {
  const last = list.at(-1);
  if (!isObject(item) || !isObject(last) || !isPieceOf(last, item)) {
    list.push(isObject(item) ? { ...item } : item);
    return;
  }
  for (const [name, value] of Object.entries(item)) {
    const before = last[name];
    if (Array.isArray(before) && Array.isArray(value)) {
      for (const each of value) join(before, each);
    } else {
      const isJoined = ["text", "summary", "data", "thinking"].includes(name);
      last[name] =
        isJoined && typeof before === "string" && typeof value === "string" ? before + value : value;
    }
  }
}

/** Pieces of one item carry its `index`, or follow each other: a signature ends an item. */
function isPieceOf(last: JsonObject, item: JsonObject): boolean {
  if (item["type"] !== last["type"]) return false;
  if (item["index"] !== undefined) return item["index"] === last["index"];
  return (item["type"] === "text" || item["type"] === "thinking") && textOf(last["signature"]) === undefined;
}
