import { isObject, listOf } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { parseJson } from "../engine/parse-json.ts";
import { textOf, without } from "./json-fields.ts";
import type { ModelAccess } from "./model-access.ts";

/** Models of one key owner whose servers refuse a field. The names come from definitions, so their number is bounded. */
const MAX_REMEMBERED = 100;
/** The characters of a refusal that are read for what it is about. */
const MAX_READ_CHARS = 10_000;

/**
 * What a request has although its server could answer without it: `stream_options`, and what the model has thought before.
 * - `refusal`: the words by which servers refuse it
 * - `without`: the body without it; the same body: it has none
 * - `isRemembered`: the server refuses it in each request. Else only this conversation has it wrong.
 */
type Optional = { refusal: RegExp; without(body: JsonObject): JsonObject; isRemembered: boolean };

const THOUGHTS = [
  "reasoning_content",
  "reasoning",
  "reasoning_text",
  "reasoning_opaque",
  "reasoning_details",
  "thinking",
  "thinking_blocks",
];

const optionals: { [name: string]: Optional } = {
  // Servers that are older than the field, or that allow no other fields than they know.
  stream_options: {
    refusal: /\bstream_options\b/,
    without: (body) => without(body, "stream_options"),
    isRemembered: true,
  },
  // Groq, Cerebras and Mistral: "property 'messages.2.assistant.reasoning_content' is unsupported", "extra_forbidden".
  thoughts: {
    refusal:
      /\b(?:reasoning(?:_content|_text|_opaque|_details)?|thinking|thinking_blocks)\b.{0,80}(?:unsupported|not supported|extra|unexpected|unknown|unrecognized|not permitted)|(?:unsupported|extra|unexpected|unknown|unrecognized).{0,80}\b(?:reasoning_content|reasoning_details|reasoning|thinking_blocks)\b/is,
    without: (body) => withMessages(body, (message) => without(message, ...THOUGHTS)),
    isRemembered: true,
  },
  // Anthropic: a signature belongs to the model that made it, and a budget may have changed the model since.
  signatures: {
    refusal: /\bsignature\b.{0,40}\bthinking\b|\bthinking\b.{0,80}\bcannot be modified\b/is,
    without: (body) => withMessages(body, withoutThinking),
    isRemembered: false,
  },
};

/**
 * Sends a request without what its server is known to refuse. When the server refuses a field that it could do without, the request is
 * sent once more without the field, under a key that ends in `.without`, because its body is another one.
 * @param label the model, as the worker remembers it
 */
export async function sendWithoutRefused(
  access: ModelAccess,
  label: string,
  init: RequestInit & { body: string },
  send: (init: RequestInit) => Promise<Response>,
): Promise<Response> {
  const known = access.withoutFields.get(label);
  const body = known === undefined ? init.body : (bodyWithout(init.body, [...known]) ?? init.body);
  const answer = await send({ ...init, body });
  if (answer.status !== 400 && answer.status !== 422) return answer;
  const said = (await answer.clone().text()).slice(0, MAX_READ_CHARS);
  const names = Object.keys(optionals).filter((name) => optionals[name]?.refusal.test(said) === true);
  const changed = names.length === 0 ? null : bodyWithout(body, names);
  if (changed === null) return answer;
  remember(
    access.withoutFields,
    label,
    names.filter((name) => optionals[name]?.isRemembered === true),
  );
  const headers = new Headers(init.headers);
  headers.set("idempotency-key", `${headers.get("idempotency-key")}.without`);
  return send({ ...init, headers, body: changed });
}

function remember(models: ModelAccess["withoutFields"], label: string, names: readonly string[]): void {
  const known = models.get(label);
  if (names.length > 0 && (known !== undefined || models.size < MAX_REMEMBERED))
    models.set(label, new Set([...(known ?? []), ...names]));
}

/** Null: the body has none of it. */
function bodyWithout(body: string, names: readonly string[]): string | null {
  const parsed = parseJson(body);
  if (!isObject(parsed)) return null;
  const before = JSON.stringify(parsed);
  const changed = names.reduce((rest, name) => optionals[name]?.without(rest) ?? rest, parsed);
  const after = JSON.stringify(changed);
  return after === before ? null : after;
}

function withMessages(body: JsonObject, change: (message: JsonObject) => JsonObject): JsonObject {
  const messages = listOf(body["messages"]).map((each): Json => (isObject(each) ? change(each) : each));
  return body["messages"] === undefined ? body : { ...body, messages };
}

/** A message without the blocks of thinking; it keeps its content where it has no other. */
function withoutThinking(message: JsonObject): JsonObject {
  const { content } = message;
  if (!Array.isArray(content)) return message;
  const rest = content.filter(
    (block) => !isObject(block) || !["thinking", "redacted_thinking"].includes(textOf(block["type"]) ?? ""),
  );
  return rest.length === 0 ? message : { ...message, content: rest };
}
