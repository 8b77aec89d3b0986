import { callsOfTurns } from "../../shared/contracts/chat.ts";
import type { ChatReply } from "../../shared/contracts/chat.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { RunId, SessionId } from "../../shared/contracts/ids.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { addDeltas, onlyText } from "../../shared/events/delta-text.ts";

/** Reads the text that viewers have seen of a turn. */
type ReadText = (run: RunId) => Promise<string>;

/** What a chat turn adds to the history of its session: collected while the turn is executed, and stored with its end. */
export class TurnReply {
  readonly #run: RunId;
  readonly #session: SessionId;
  #texts: ReadonlyMap<string, string> = new Map();
  #answer: Json | undefined;
  /** The committed turns of the agent's step. */
  turns: readonly Json[] = [];

  constructor(run: RunId, session: SessionId) {
    this.#run = run;
    this.#session = session;
  }

  /** Adds events of the step, as viewers get them. */
  addEvents(events: readonly RunEvent[]): void {
    this.#texts = addDeltas(events, this.#texts);
  }

  /** The step's answer, before large values are replaced by references. */
  answer(response: Json | undefined): void {
    this.#answer = response;
  }

  /**
   * The row of the history. A turn that did not complete keeps the text that viewers saw before it was cut: of this
   * execution or, if this one has sent no text, of an earlier one. Null: there is nothing to keep.
   */
  async row(isCompleted: boolean, readText: ReadText): Promise<ChatReply | null> {
    const tool_calls = callsOfTurns(this.turns);
    const shown = onlyText(this.#texts);
    if (isCompleted) {
      const text = typeof this.#answer === "string" ? this.#answer : JSON.stringify(this.#answer ?? shown);
      return { session: this.#session, content: text, tool_calls, cut: false };
    }
    const content = shown === "" ? await readText(this.#run) : shown;
    if (content === "" && tool_calls.length === 0) return null;
    return { session: this.#session, content, tool_calls, cut: true };
  }
}
