import { isObject } from "../../shared/contracts/json.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { parseJson } from "../engine/parse-json.ts";
import { textOf, without } from "./json-fields.ts";
import {
  withBlankThoughts,
  withEmptyTexts,
  withMarkedCalls,
  withMessages,
  withNewerLimit,
  withPlainCallIds,
  withPlainSchemas,
  withPlainTools,
  withSingleCalls,
  withShortDescriptions,
  withSmallLimit,
  withSystemAsUser,
} from "./taken-forms.ts";
import type { ModelAccess } from "./model-access.ts";

/** Models of one key owner whose servers refuse a field. The names come from definitions, so their number is bounded. */
const MAX_REMEMBERED = 100;
/** The characters of a refusal that are read for what it is about. */
const MAX_READ_CHARS = 10_000;

/**
 * What a request has although its server could answer without it (`stream_options`, and what the model has thought before), or if it had
 * another form.
 * - `refusal`: the words by which servers refuse it
 * - `without`: the body without it, or with it in the other form; the same body: it has none
 * - `isFailure`: servers refuse it with status 500 too, because their template of the conversation fails
 * - `isRemembered`: the server refuses it in each request. Else only this conversation has it wrong.
 */
type Optional = {
  refusal: RegExp;
  without(body: JsonObject): JsonObject;
  isFailure?: true;
  isRemembered: boolean;
};

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
  // llama.cpp before May 2025, beside tools, and models of OpenAI that stream for verified organizations alone. A whole answer is read too.
  stream: {
    refusal:
      /\bto stream this model\b|\btools with stream\b|\bstream(?:ing)?\b.{0,40}\b(?:not supported|unsupported)/i,
    without: (body) => without(body, "stream", "stream_options"),
    isFailure: true,
    isRemembered: true,
  },
  // Bedrock and Vertex: "tools.0.custom.eager_input_streaming: Extra inputs are not permitted".
  eager_input_streaming: {
    refusal: /\beager_input_streaming\b/,
    without: withPlainTools,
    isRemembered: true,
  },
  // Groq, Cerebras and Mistral: "property 'messages.2.assistant.reasoning_content' is unsupported", "extra_forbidden".
  thoughts: {
    refusal:
      /\b(?:reasoning(?:_content|_text|_opaque|_details)?|thinking|thinking_blocks)\b.{0,80}(?:unsupported|not supported|extra|unexpected|unknown|unrecognized|not permitted)|(?:unsupported|extra|unexpected|unknown|unrecognized).{0,80}\b(?:reasoning_content|reasoning_details|reasoning|thinking_blocks)\b/is,
    without: (body) => withMessages(body, (message) => without(message, ...THOUGHTS)),
    isRemembered: true,
  },
  // Templates of Llama's models, of answers with several calls: "This model only supports single tool-calls at once!".
  parallel_calls: {
    refusal: /\bsingle tool[- ]calls?\b|\bmultiple tool calls are not supported\b/i,
    without: withSingleCalls,
    isFailure: true,
    isRemembered: true,
  },
  // OpenAI's models from gpt-5.6 on, whose own effort counts where a request names none. They take tools without it, or over the Responses API.
  reasoning_effort: {
    refusal: /\btools with reasoning_effort are not supported\b/i,
    without: (body) => (body["tools"] === undefined ? body : { ...body, reasoning_effort: "none" }),
    isRemembered: true,
  },
  // DeepSeek and Kimi, of answers of another model, and of their own in which nothing was thought.
  no_thoughts: {
    refusal:
      /\breasoning[_ ]content\b.{0,60}\b(?:missing|must be passed back)|\binclude reasoning_content\b/is,
    without: withBlankThoughts,
    isRemembered: true,
  },
  // Gemini behind OpenAI's form, of calls that another model has made.
  unsigned_calls: {
    refusal: /\bmissing a `?thought_signature\b/i,
    without: withMarkedCalls,
    isRemembered: true,
  },
  // Ollama, LM Studio, Cerebras and Mistral's server, of a call without a text: "invalid message content type: <nil>".
  content: {
    refusal: /\bcontent\b.{0,60}(?:<nil>|\bnull\b|\bmust be a string\b|\bvalid string\b)|'NoneType' object/is,
    without: withEmptyTexts,
    isRemembered: true,
  },
  // Anthropic: a signature belongs to the model that made it, and a budget may have changed the model since.
  signatures: {
    refusal: /\bsignature\b.{0,40}\bthinking\b|\bthinking\b.{0,80}\bcannot be modified\b/is,
    without: (body) => withMessages(body, withoutThinking),
    isRemembered: false,
  },
  // Anthropic, Mistral and OpenAI, about ids of other servers: "should match pattern", "with a length of 9", "string too long".
  call_ids: {
    refusal:
      /\btool_(?:use|result)\b[^"]{0,40}\bid\b[^"]{0,40}should match pattern|\btool call id\b.{0,300}\bmust be\b|\btool_call(?:s\[\d+\]\.|_)id'?:? string too long/is,
    without: withPlainCallIds,
    isRemembered: true,
  },
  // OpenAI's models before gpt-5 and Azure: "Invalid 'tools[2].function.description': string too long". Before `system`, which moves the rest too.
  descriptions: {
    refusal: /\btools(?:\[\d+\]|\.\d+)(?:\.function)?\.description\b.{0,40}\btoo long\b/is,
    without: withShortDescriptions,
    isRemembered: true,
  },
  // Gemini, OpenAI, Anthropic and others, of keywords in the schema of a tool: each takes other ones. Another step may have other tools.
  schemas: {
    refusal:
      /\bfunction_?declarations?\b|\binput_schema\b|\bschema\b.{0,60}\b(?:tool|function)\b|\b(?:tool|function)s?\b.{0,80}\bschema\b/is,
    without: withPlainSchemas,
    isRemembered: false,
  },
  // Templates of models that have no such role, such as Gemma's, and OpenAI's first reasoning models.
  system: {
    refusal: /\bsystem (?:role|messages?|prompts?) (?:is |are )?not supported|\bdoes not support 'system'/i,
    without: withSystemAsUser,
    isFailure: true,
    isRemembered: true,
  },
  max_tokens: {
    refusal: /\bmax_tokens\b.{0,80}\bnot supported\b.{0,80}\bmax_completion_tokens\b/is,
    without: withNewerLimit,
    isRemembered: true,
  },
  // The limit of `output-limit.ts`, larger than the model's own, or than what the conversation leaves of its window.
  output_limit: {
    refusal: /\bmax_tokens\b.{0,60}(?:>|\bmaximum allowed\b|\bat most\b|\btoo large\b)/is,
    without: withSmallLimit,
    isRemembered: true,
  },
  window: {
    refusal: /\bmax_tokens\b.{0,20}\bexceed context\b|\bin the completion\b/is,
    without: withSmallLimit,
    isRemembered: false,
  },
};

/**
 * Sends a request without what its server is known to refuse. When the server refuses a field that it could do without, the request is
 * sent once more without the field, and again where the server then refuses another one: at most once for each of `optionals`. The fields
 * are remembered when the last request is not refused too: a refusal may quote a request, and so name fields that it is not about.
 *
 * The key of a request follows from its body: a request without fields has a key that names them. A later try of the call, which knows of
 * the refusal from the beginning, has the key of the request that may have been carried out, and never that of the refused one.
 * @param label the model, as the worker remembers it
 */
export async function sendWithoutRefused(
  access: ModelAccess,
  label: string,
  init: RequestInit & { body: string },
  send: (init: RequestInit) => Promise<Response>,
): Promise<Response> {
  let sent = withoutFields(init.body, access.withoutFields.get(label) ?? []);
  for (;;) {
    const answer = await send(requestOf(init, sent));
    if (!isRefusal(answer)) {
      remember(access.withoutFields, label, sent.names);
      return answer;
    }
    const next = withoutFields(init.body, [...sent.names, ...(await refusedIn(answer))]);
    if (next.names.length === sent.names.length) return answer;
    sent = next;
  }
}

/** The names of what a refusal may be about. */
async function refusedIn(answer: Response): Promise<string[]> {
  const said = (await answer.clone().text()).slice(0, MAX_READ_CHARS);
  return Object.entries(optionals)
    .filter(([, { refusal, isFailure }]) => (answer.status !== 500 || isFailure) && refusal.test(said))
    .map(([name]) => name);
}

function isRefusal({ status }: Response): boolean {
  return status === 400 || status === 422 || status === 500;
}

function remember(models: ModelAccess["withoutFields"], label: string, names: readonly string[]): void {
  const known = models.get(label);
  const kept = names.filter((name) => optionals[name]?.isRemembered === true);
  if (kept.length > 0 && (known !== undefined || models.size < MAX_REMEMBERED))
    models.set(label, new Set([...(known ?? []), ...kept]));
}

/** A body, and the names of what it had and is without now, in the order of `optionals`. */
type Shortened = { body: string; names: readonly string[] };

function withoutFields(body: string, names: Iterable<string>): Shortened {
  const asked = new Set(names);
  let rest = asked.size === 0 ? null : parseJson(body);
  if (!isObject(rest)) return { body, names: [] };
  const gone: string[] = [];
  for (const [name, optional] of Object.entries(optionals)) {
    if (!asked.has(name)) continue;
    const shorter = optional.without(rest);
    if (JSON.stringify(shorter) !== JSON.stringify(rest)) gone.push(name);
    rest = shorter;
  }
  return { body: gone.length === 0 ? body : JSON.stringify(rest), names: gone };
}

function requestOf(init: RequestInit, { body, names }: Shortened): RequestInit {
  if (names.length === 0) return init;
  const headers = new Headers(init.headers);
  headers.set("idempotency-key", [headers.get("idempotency-key"), "without", ...names].join("."));
  return { ...init, headers, body };
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
