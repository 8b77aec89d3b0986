import { hash } from "node:crypto";
import { isObject, listOf } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { firstChars } from "../../shared/text/first-chars.ts";
import { textOf, without } from "./json-fields.ts";
import { plainSchema } from "./plain-schema.ts";
import { UNKNOWN_MAX_OUTPUT } from "./output-limit.ts";

/** Nine letters and digits: the one form of an id that every server takes. Mistral's take no other. */
const ID_CHARS = 9;

/** The most characters of a tool's description that every server takes. */
const DESCRIPTION_CHARS = 1_024;

/** A limit of an answer that every server takes, in tokens. */
const SMALL_OUTPUT = 4_096;

/** A body whose calls, and their results, have ids that every server takes. Ids of one server's calls may be refused by another one. */
export function withPlainCallIds(body: JsonObject): JsonObject {
  return withMessages(body, (message) => ({
    ...withPlain(message, ["tool_call_id"]),
    ...changed(message, "tool_calls", (call) => withPlain(call, ["id"])),
    ...changed(message, "content", (block) => {
      const isCall = block["type"] === "tool_use" || block["type"] === "tool_result";
      return isCall ? withPlain(block, ["id", "tool_use_id"]) : block;
    }),
  }));
}

/** A body whose system message stands before the first message of the user. */
export function withSystemAsUser(body: JsonObject): JsonObject {
  const messages = listOf(body["messages"]).filter(isObject);
  const system = messages.filter(isSystem).map(({ content }) => textOf(content) ?? "");
  const [first, ...others] = messages.filter((message) => !isSystem(message));
  if (system.length === 0 || first?.["role"] !== "user") return body;
  const { content = "" } = first;
  const text = system.join("\n\n");
  const joined = Array.isArray(content)
    ? [{ type: "text", text }, ...content]
    : `${text}\n\n${textOf(content) ?? ""}`;
  return { ...body, messages: [{ ...first, content: joined }, ...others] };
}

/** A body with the output limit under the name that OpenAI's newer models take, also behind gateways. */
export function withNewerLimit({ max_tokens, ...body }: JsonObject): JsonObject {
  return max_tokens === undefined ? body : { ...body, max_completion_tokens: max_tokens };
}

/** A body with a smaller limit of the answer, where the limit is `UNKNOWN_MAX_OUTPUT`, which is too large for some servers. */
export function withSmallLimit(body: JsonObject): JsonObject {
  return body["max_tokens"] === UNKNOWN_MAX_OUTPUT ? { ...body, max_tokens: SMALL_OUTPUT } : body;
}

/**
 * A body whose tools have descriptions that every server takes. What is longer stands whole in the system message, so that the model still
 * reads all of it.
 */
export function withShortDescriptions(body: JsonObject): JsonObject {
  const whole: string[] = [];
  const shortened = (tool: JsonObject): JsonObject => {
    const description = textOf(tool["description"]) ?? "";
    if (description.length <= DESCRIPTION_CHARS) return tool;
    whole.push(`The whole description of the tool ${textOf(tool["name"]) ?? ""}:\n${description}`);
    return { ...tool, description: `${firstChars(description, DESCRIPTION_CHARS - 1)}…` };
  };
  const tools = changed(body, "tools", ({ function: own, ...tool }) =>
    isObject(own) ? { ...tool, function: shortened(own) } : shortened(tool),
  );
  const list = body["messages"] === undefined ? "input" : "messages";
  const [first = null, ...others] = listOf(body[list]);
  if (whole.length === 0 || first === null) return { ...body, ...tools };
  const text = whole.join("\n\n");
  const prompt = isObject(first) && isSystem(first) ? textOf(first["content"]) : undefined;
  const system = { ...(prompt !== undefined && isObject(first) ? first : { role: "system" }) };
  const content = [prompt ?? "", text].filter((part) => part !== "").join("\n\n");
  const rest = prompt === undefined ? [first, ...others] : others;
  return { ...body, ...tools, [list]: [{ ...system, content }, ...rest] };
}

/** A body whose calls have a text beside them, an empty one, where they had null. */
export function withEmptyTexts(body: JsonObject): JsonObject {
  return withAnswers(body, (answer) => (answer["content"] === null ? { ...answer, content: "" } : answer));
}

/**
 * A body whose answers all have a thought, a space where there was none: DeepSeek and Kimi refuse an empty one, and DeepSeek a content
 * of null beside it.
 */
export function withBlankThoughts(body: JsonObject): JsonObject {
  return withEmptyTexts(
    withAnswers(body, (answer) =>
      textOf(answer["reasoning_content"]) === undefined ? { ...answer, reasoning_content: " " } : answer,
    ),
  );
}

/** Google's word for a call that none of its models has signed (ai.google.dev/gemini-api/docs/thought-signatures). */
const UNSIGNED = { google: { thought_signature: "skip_thought_signature_validator" } };

/** A body whose calls without a signature of Google are marked as those of another model. */
export function withMarkedCalls(body: JsonObject): JsonObject {
  return withAnswers(body, (answer) => ({
    ...answer,
    ...changed(answer, "tool_calls", (call) => ({ extra_content: UNSIGNED, ...call })),
  }));
}

/** A body whose tools have no wish for their arguments to be streamed, which Anthropic's package adds to each. */
export function withPlainTools(body: JsonObject): JsonObject {
  return { ...body, ...changed(body, "tools", (tool) => without(tool, "eager_input_streaming")) };
}

/** A body in which each call has an answer of its own, and its result after it: templates of models take one call in an answer. */
export function withSingleCalls(body: JsonObject): JsonObject {
  const messages = listOf(body["messages"]);
  const results = new Map(
    messages.filter(isObject).map((message) => [textOf(message["tool_call_id"]), message]),
  );
  const moved = new Set<Json>();
  const single = messages.flatMap((message): Json[] => {
    if (moved.has(message)) return [];
    const calls = isObject(message) ? listOf(message["tool_calls"]).filter(isObject) : [];
    if (!isObject(message) || calls.length < 2) return [message];
    return calls.flatMap((call, i): JsonObject[] => {
      const id = textOf(call["id"]);
      const result = id === undefined ? undefined : results.get(id);
      if (result !== undefined) moved.add(result);
      const answer = { ...message, ...(i > 0 ? { content: null } : {}), tool_calls: [call] };
      return result === undefined ? [answer] : [answer, result];
    });
  });
  return body["messages"] === undefined ? body : { ...body, messages: single };
}

/** The fields of a tool that hold its schema: of OpenAI, Anthropic and Google. */
const SCHEMAS = ["parameters", "input_schema", "parametersJsonSchema"];

/** A body whose tools have schemas of plain keywords. */
export function withPlainSchemas(body: JsonObject): JsonObject {
  const plain = (tool: JsonObject): JsonObject => {
    const entries = Object.entries(tool).map(([name, value]): [string, Json] => [
      name,
      SCHEMAS.includes(name) && isObject(value) ? plainSchema(value) : value,
    ]);
    return { ...Object.fromEntries(entries), ...changed(tool, "functionDeclarations", plain) };
  };
  const tools = changed(body, "tools", ({ function: own, ...tool }) => ({
    ...plain(tool),
    ...(isObject(own) ? { function: plain(own) } : {}),
  }));
  return { ...body, ...tools };
}

function withAnswers(body: JsonObject, change: (answer: JsonObject) => JsonObject): JsonObject {
  return withMessages(body, (message) => (message["role"] === "assistant" ? change(message) : message));
}

/** A body with each of its messages changed. */
export function withMessages(body: JsonObject, change: (message: JsonObject) => JsonObject): JsonObject {
  const messages = listOf(body["messages"]).map((each): Json => (isObject(each) ? change(each) : each));
  return body["messages"] === undefined ? body : { ...body, messages };
}

function isSystem({ role }: JsonObject): boolean {
  return role === "system" || role === "developer";
}

function withPlain(object: JsonObject, names: readonly string[]): JsonObject {
  const plain = names.flatMap((name): [string, Json][] => {
    const id = textOf(object[name]);
    return id === undefined ? [] : [[name, hash("sha256", id).slice(0, ID_CHARS)]];
  });
  return { ...object, ...Object.fromEntries(plain) };
}

/** A field of this name: its list, with each object in it changed. No field where the object has no such list. */
function changed(object: JsonObject, name: string, change: (item: JsonObject) => JsonObject): JsonObject {
  const list = object[name];
  return Array.isArray(list) ? { [name]: list.map((item) => (isObject(item) ? change(item) : item)) } : {};
}
