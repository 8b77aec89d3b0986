import { isObject } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { tokenCount } from "./token-count.ts";
import type { LimitsLeft } from "./limits-left.ts";

/**
 * The most bytes of an answer: its texts, its thoughts and the arguments of its calls. The longest answers of models have 128,000 tokens,
 * about 0.5 MB. All that reads an answer takes time in proportion to it, on the thread that all runs of a worker share.
 */
export const MAX_ANSWER_BYTES = 2 * 1024 * 1024;
/** The most tool calls of an answer. Each is committed, and is read again with every later request. */
export const MAX_CALLS = 500;

/**
 * What a provider has reported in the stream of one answer, read from its bytes: the SDK drops or renames much of it, and all
 * of it when a stream breaks.
 */
export type ProviderReport = {
  /** What is left of the provider's limits. */
  left: LimitsLeft | undefined;
  /** The provider has begun to answer. */
  begun: boolean;
  /** An event of an answer has come. */
  hasEvents: boolean;
  /** An error that was reported inside the stream, as the provider wrote it. */
  error: Json | undefined;
  /** The provider's own word for why the answer ended. An empty text is a word too. */
  finish: string | undefined;
  /** The id of a response that the provider makes in the background, once it has named it. */
  responseId: string | undefined;
  /** The number of the last event of that response. */
  sequence: number | undefined;
  /** The provider said that nothing follows. */
  done: boolean;
  /** The provider withheld the answer, whatever its finish reason says. */
  withheld: boolean;
  /** Why the response is no answer of a model, as a sentence: a page of a proxy, a stream without an end. */
  problem: string | undefined;
  /** The counts of tokens, under the provider's names. Of each count the last report is here. */
  counts: JsonObject;
  /** The tokens of the call by `counts`. */
  tokens: ReportedTokens | undefined;
  /** The kinds of what the answer holds beside text and calls, and what no step takes: images, audio. */
  media: Set<string>;
  /** How many bytes of an answer have come: of texts, thoughts and calls. */
  writtenBytes: number;
  /** How many bytes of thoughts have come that go back to the provider unchanged. Some servers write a thought in two fields. */
  thoughtBytes: number;
  /** Anthropic's blocks that have begun, by index: does the SDK know of them? */
  blocks: Map<number, boolean>;
  /** The items of the content, where the provider writes it as a list. */
  content: Json[];
  /** Fields of the assistant's message that only the provider understands, under its own names. */
  opaque: JsonObject;
  /** The names of the tools that the model was offered. */
  tools: readonly string[];
  /** Calls in OpenAI's form that are held back, because their names may still grow. */
  openCalls: OpenCall[];
  /** The calls that were passed to the SDK: the last one at each index. */
  begunCalls: Map<number | undefined, BegunCall>;
  /** The calls of OpenAI's Responses API that have come before the whole response. */
  responseCalls: Set<string>;
  /** The parts of an answer in OpenAI's form that have come in pieces. */
  inDeltas: Set<"text" | "call">;
  /** Whether an event had several choices. */
  hasSeveralChoices: boolean;
  /** The indices of the choices from which the text and the calls of the answer are taken. */
  chosen: Map<"text" | "call", number>;
};

/** A call in OpenAI's form that was passed to the SDK. `args`: the text of its arguments so far. */
type BegunCall = { id: string | undefined; args: string };

/** A call in OpenAI's form of which pieces have arrived, and whose name may still grow. */
export type OpenCall = {
  index: number | undefined;
  id: string | undefined;
  /** The pieces of its name: parts of it, or the whole name again and again. */
  names: string[];
  args: string;
  extra: JsonObject;
};

/** @param tools the names of the tools that the model is offered */
export function emptyReport(tools: readonly string[]): ProviderReport {
  return {
    left: undefined,
    begun: false,
    hasEvents: false,
    error: undefined,
    finish: undefined,
    responseId: undefined,
    sequence: undefined,
    done: false,
    withheld: false,
    problem: undefined,
    counts: {},
    tokens: undefined,
    media: new Set(),
    writtenBytes: 0,
    thoughtBytes: 0,
    blocks: new Map(),
    content: [],
    opaque: {},
    tools,
    openCalls: [],
    begunCalls: new Map(),
    responseCalls: new Set(),
    inDeltas: new Set(),
    hasSeveralChoices: false,
    chosen: new Map(),
  };
}

/** Whether more of an answer has come than one may have. */
export function isTooLarge({ writtenBytes, thoughtBytes }: ProviderReport): boolean {
  return writtenBytes > MAX_ANSWER_BYTES || thoughtBytes > 2 * MAX_ANSWER_BYTES;
}

/** Reads the events of one provider's format. */
export type Format = {
  /**
   * Notes in `report` what the event says. Returns the events that the SDK is to read in its place; none when it holds nothing
   * for the SDK. `name` is that of the SSE event. `onText` gets text of the answer in place of the SDK, where the order of text
   * and other parts means nothing. The way through the SDK costs many times as much.
   */
  read(
    event: JsonObject,
    name: string | undefined,
    report: ProviderReport,
    onText: (text: string) => void,
  ): JsonObject[];
  /** What the SDK gets after the last event of the stream. */
  end?(report: ProviderReport): JsonObject[];
};

/**
 * Adds the token counts of an event to those of earlier events: some servers divide the counts over several events. What is
 * no count, or 0 or less, never replaces an earlier count: some servers end with null, 0 or -1.
 */
export function noteCounts(report: ProviderReport, more: Json | undefined, tokensOf: TokensOf): void {
  if (!isObject(more)) return;
  const counts = Object.entries(more).filter(
    ([name, count]) =>
      !Object.hasOwn(report.counts, name) ||
      (typeof count === "object" ? count !== null : tokenCount(count) > 0),
  );
  report.counts = { ...report.counts, ...Object.fromEntries(counts) };
  report.tokens = tokensOf(report.counts);
}
type TokensOf = (counts: JsonObject) => ReportedTokens;

/** Tokens as a provider has reported them. Undefined: it has said nothing of them, which is not 0. */
export type ReportedTokens = { input: number | undefined; cachedInput: number; output: number | undefined };

/** Of prompt, answer and their total, what the provider says of the first two: of the total too, where it has left one out. */
export function promptAndAnswer(
  prompt: number | undefined,
  answer: number | undefined,
  total: number | undefined,
): Pick<ReportedTokens, "input" | "output"> {
  if (total === undefined) return { input: prompt, output: answer };
  // What the total has beyond the prompt are thoughts that are not counted in the answer.
  const output = prompt === undefined ? (answer ?? total) : Math.max(answer ?? 0, total - prompt);
  return { input: prompt ?? Math.max(0, total - output), output };
}
