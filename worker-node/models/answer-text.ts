import { CallStarts } from "./call-starts.ts";
import { BEGINNING_CHARS, mayBeCalls } from "./text-calls.ts";
import { Channels } from "./channels.ts";
import { SpecialTokens } from "./special-tokens.ts";
import { Thoughts } from "./thoughts.ts";
import type { PartCollector } from "./answer-parts.ts";
import type { ChannelCall, ChannelPiece } from "./channels.ts";
import type { AnswerPiece } from "./thoughts.ts";

/** The callbacks that get the text: see `ModelRequest`. */
type Listeners = { onText(text: string): void; onRestart?(): void };

/**
 * The text of an answer as it arrives: without what the model thinks, and without the special tokens of its language. The parts of the
 * answer get the thoughts too, and no token, because a template of a server refuses the tokens of its own language.
 *
 * Where tools were offered, a text from where it may be a call on is published when it has turned out to be text. The time is linear in the
 * length of the text: none of it is read again with each piece.
 */
export class AnswerText {
  readonly #channels = new Channels();
  readonly #tokens = new SpecialTokens();
  readonly #thoughts = new Thoughts();
  readonly #listeners: Listeners;
  readonly #parts: PartCollector;
  readonly #hasTools: boolean;
  #text = "";
  /** The end of `#text` that is held back. */
  #held = "";
  #mayBeCalls: boolean;
  #starts = new CallStarts();

  constructor(listeners: Listeners, parts: PartCollector, hasTools: boolean) {
    this.#listeners = listeners;
    this.#parts = parts;
    this.#hasTools = hasTools;
    this.#mayBeCalls = hasTools;
  }

  /** The answer's text so far. */
  get text(): string {
    return this.#text;
  }

  /** Calls in the format of gpt-oss, which are no text. */
  get calls(): readonly ChannelCall[] {
    return this.#channels.calls;
  }

  /** Where calls may begin in the text. */
  get callStarts(): readonly number[] {
    return this.#starts.at;
  }

  /** The last thought between tags. */
  get thought(): string {
    return this.#thoughts.last;
  }

  /** Adds a piece of the part of this id. */
  add(id: string, piece: string, metadata: unknown): void {
    // A signature may stand on a text that is empty.
    if (piece === "" || metadata !== undefined) this.#parts.text("text", id, "", metadata);
    for (const each of this.#channels.push(piece)) this.#take(id, each);
  }

  /** The part of this id has ended: what may have become a token is text of this part. */
  endPart(id: string): void {
    this.#passOn(id, this.#tokens.end());
  }

  /** The text has ended. */
  end(): void {
    for (const each of this.#channels.end()) this.#take("", each);
    this.endPart("");
    this.#publish(this.#thoughts.end());
  }

  /** Publishes what was held back, because it is text. `text` is added: a call that no tool takes. */
  release(text: string): void {
    const held = this.#held;
    this.#held = "";
    this.#text += text;
    this.#pass(held + text);
  }

  /** Drops the text from a place on, because it was calls, and publishes what was held back before it. */
  dropFrom(at: number): void {
    const published = this.#text.length - this.#held.length;
    this.#parts.takeText(this.#text.slice(at));
    if (at < published) this.#listeners.onRestart?.();
    else this.#pass(this.#text.slice(published, at));
    this.#text = this.#text.slice(0, at);
    this.#held = "";
  }

  #take(id: string, { is, text, restarts }: ChannelPiece): void {
    if (restarts) {
      this.#parts.restart();
      this.#publish({ restarts: true, text: "" });
    }
    if (is === "thought") this.#parts.text("reasoning", id, text, undefined);
    else this.#passOn(id, this.#tokens.push(text));
  }

  #passOn(id: string, text: string): void {
    if (text === "") return;
    this.#parts.text("text", id, text, undefined);
    this.#publish(this.#thoughts.push(text));
  }

  #publish({ restarts, text }: AnswerPiece): void {
    if (restarts) {
      this.#text = "";
      this.#held = "";
      this.#starts = new CallStarts();
      this.#mayBeCalls = this.#hasTools;
      this.#listeners.onRestart?.();
    }
    const isBeginning = this.#text.length < BEGINNING_CHARS;
    this.#text += text;
    this.#held += text;
    const keptChars = this.#hasTools ? this.#starts.push(text) : 0;
    if (this.#mayBeCalls && isBeginning) this.#mayBeCalls = mayBeCalls(this.#text);
    if (this.#mayBeCalls || keptChars >= this.#held.length) return;
    const passed = this.#held.slice(0, this.#held.length - keptChars);
    this.#held = this.#held.slice(passed.length);
    this.#pass(passed);
  }

  #pass(text: string): void {
    if (text !== "") this.#listeners.onText(text);
  }
}
