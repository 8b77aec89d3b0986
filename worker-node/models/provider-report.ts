import { isObject } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Tokens } from "./cost.ts";

/**
 * What a provider has reported in the stream of one answer, read from its bytes: the SDK drops or renames much of it, and all
 * of it when a stream breaks.
 */
export type ProviderReport = {
  /** The provider has begun to answer. */
  begun: boolean;
  /** An error that was reported inside the stream, as the provider wrote it. */
  error: Json | undefined;
  /** The provider's own word for why the answer ended. An empty text is a word too. */
  finish: string | undefined;
  /** The provider said that nothing follows. */
  done: boolean;
  /** The provider withheld the answer, whatever its finish reason says. */
  withheld: boolean;
  /** The response is a text that is neither an answer nor an error: a page of a proxy, a wrong base URL. */
  isPage: boolean;
  /** The counts of tokens, under the provider's names. Of each count the last report is here. */
  counts: JsonObject;
  /** What `counts` say. */
  tokens: Tokens | undefined;
  /** The items of the content, where the provider writes it as a list. */
  content: Json[];
  /** Fields of the assistant's message that only the provider understands, under its own names. */
  opaque: JsonObject;
};

export function emptyReport(): ProviderReport {
  return {
    begun: false,
    error: undefined,
    finish: undefined,
    done: false,
    withheld: false,
    isPage: false,
    counts: {},
    tokens: undefined,
    content: [],
    opaque: {},
  };
}

/** Reads the events of one provider's format. */
export type Format = {
  /**
   * Notes in `report` what the event says. Returns the events that the SDK is to read in its place; none when it holds nothing
   * for the SDK. `name` is that of the SSE event.
   */
  read(event: JsonObject, name: string | undefined, report: ProviderReport): JsonObject[];
};

/**
 * Adds the token counts of an event to those of earlier events: some servers divide the counts over several events. A count
 * of null or 0 never replaces an earlier count: some servers end with such counts.
 */
export function noteCounts(report: ProviderReport, more: Json | undefined, tokensOf: TokensOf): void {
  if (!isObject(more)) return;
  const counts = Object.entries(more).filter(
    ([name, count]) => !Object.hasOwn(report.counts, name) || (count !== null && count !== 0),
  );
  report.counts = { ...report.counts, ...Object.fromEntries(counts) };
  report.tokens = tokensOf(report.counts);
}
type TokensOf = (counts: JsonObject) => Tokens;
