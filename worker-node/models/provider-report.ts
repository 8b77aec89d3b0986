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
  /** The last counts that were reported. */
  tokens: Tokens | undefined;
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
    tokens: undefined,
    opaque: {},
  };
}

/** One provider's format of events. */
export type Format = {
  /**
   * Notes in `report` what the event says. Returns the event as the SDK can read it, or null when it holds nothing for the
   * SDK. `name` is that of the SSE event.
   */
  read(event: JsonObject, name: string | undefined, report: ProviderReport): JsonObject | null;
};
