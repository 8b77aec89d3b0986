/** What a model writes: its answer, what it thinks, or the arguments of a call. `restarts`: all text before it was a thought. */
export type ChannelPiece = { is: "text" | "thought"; text: string; restarts?: true };
/** A call that a channel holds: the name to which it is sent, and the JSON of its arguments. */
export type ChannelCall = { name: string; args: string };

const START = "<|start|>";
const CHANNEL = "<|channel|>";
const MESSAGE = "<|message|>";
/** The end of a thought, of a preamble or of a call. */
const BODY_END = /<\|(?:end|return|call)\|>|(?=<\|(?:start|channel)\|>)/;
/** A text that began as a thought, without its channel, because the model's prompt ends with it. */
const THOUGHT_BEFORE = `<|end|>${START}assistant${CHANNEL}`;
const NAMES = ["analysis", "commentary", "final"];
const OPENINGS = [CHANNEL, `${START}assistant${CHANNEL}`, ...NAMES.map((name) => `${name}${MESSAGE}`)];
/** The beginning of any of these tokens at the end of what has come. */
const MAY_GO_ON = /<(?:\|[a-z]{0,7}(?:\|)?)?$/;
const MAX_HEADER_CHARS = 300;
/** The most white space before a text in this format. */
const MAX_SPACE_CHARS = 300;

/** A text whose server has left out the tokens, and not the names between them. */
const BARE_BEGINNING = /^analysis[A-Z"']/;
const BARE_FINAL = "assistantfinal";

type Where =
  | { in: "opening" | "answer" | "between" | "header" | "bare" }
  | { in: "plain"; mayRestart: boolean }
  | { in: "body"; name: string; recipient: string | null };

/**
 * Divides a text in OpenAI's harmony format (developers.openai.com/cookbook, "OpenAI harmony response format") into its channels, as it
 * arrives. Servers of gpt-oss that do not know the format pass it on as text: `final` is the answer, `analysis` a thought, and
 * `commentary` a preamble or, with a recipient, a call. What does not begin in this format is text, also where it has such marks.
 */
export class Channels {
  readonly calls: ChannelCall[] = [];
  #where: Where = { in: "opening" };
  #held = "";
  /** What stood before the header that is read: text, if it is none. */
  #head = "";
  /** The text of a body, or of a text without tokens, before `#held`. */
  #body: string[] = [];
  /** A preamble is the answer when no other text follows. */
  #preamble = "";
  #hasAnswer = false;

  push(piece: string): ChannelPiece[] {
    this.#held += piece;
    const pieces: ChannelPiece[] = [];
    for (;;) {
      const before = this.#where;
      this.#step(pieces);
      if (this.#where === before) return pieces;
    }
  }

  /** The rest of a text that has ended. */
  end(): ChannelPiece[] {
    const pieces: ChannelPiece[] = [];
    const rest = this.#held;
    this.#held = "";
    if (this.#where.in === "body") this.#endBody(rest, this.#where, pieces);
    else if (this.#where.in === "header") pieces.push({ is: "text", text: this.#head + rest });
    else if (this.#where.in !== "between") pieces.push({ is: "text", text: this.#bodyWith(rest) });
    if (!this.#hasAnswer && this.#preamble !== "" && this.calls.length === 0)
      pieces.push({ is: "text", text: this.#preamble });
    return pieces;
  }

  /** Reads on until more of the text is needed: then `#where` stays. */
  #step(pieces: ChannelPiece[]): void {
    switch (this.#where.in) {
      case "opening":
        return this.#open();
      case "plain":
        return this.#plain(this.#where, pieces);
      case "header":
        return this.#header();
      case "body":
        return this.#readBody(this.#where, pieces);
      case "between":
        return this.#between();
      case "bare":
        return this.#bare(pieces);
      case "answer":
        if (this.#held !== "") pieces.push({ is: "text", text: this.#take(this.#held.length) });
    }
  }

  #open(): void {
    const begun = this.#held.trimStart();
    const opening = OPENINGS.find((each) => begun.startsWith(each));
    if (opening !== undefined) {
      const isNamed = !opening.endsWith(CHANNEL);
      this.#head = isNamed ? "" : opening;
      this.#held = begun.slice(this.#head.length);
      this.#where = { in: "header" };
    } else if (BARE_BEGINNING.test(begun)) this.#where = { in: "bare" };
    else if (
      this.#held.length - begun.length > MAX_SPACE_CHARS ||
      !OPENINGS.some((each) => each.startsWith(begun))
    )
      this.#where = { in: "plain", mayRestart: true };
  }

  #plain(where: Extract<Where, { in: "plain" }>, pieces: ChannelPiece[]): void {
    if (!where.mayRestart) return void pieces.push({ is: "text", text: this.#take(this.#held.length) });
    const at = this.#held.indexOf("<|");
    const mark = at < 0 ? "" : this.#held.slice(at, at + THOUGHT_BEFORE.length);
    if (mark === THOUGHT_BEFORE) {
      pieces.push({ is: "thought", text: this.#take(at), restarts: true });
      this.#head = this.#take(THOUGHT_BEFORE.length);
      this.#where = { in: "header" };
    } else if (at >= 0 && !THOUGHT_BEFORE.startsWith(mark)) this.#where = { in: "plain", mayRestart: false };
    else {
      const keptFrom = at >= 0 ? at : this.#held.length - (this.#held.endsWith("<") ? 1 : 0);
      if (keptFrom > 0) pieces.push({ is: "text", text: this.#take(keptFrom) });
    }
  }

  /** The text is held until it has turned out to be a thought. */
  #bare(pieces: ChannelPiece[]): void {
    const at = this.#held.indexOf(BARE_FINAL);
    if (at < 0) {
      this.#body.push(this.#take(Math.max(0, this.#held.length - BARE_FINAL.length)));
      return;
    }
    const thought = this.#bodyWith(this.#take(at)).trimStart().slice("analysis".length);
    pieces.push({ is: "thought", text: thought });
    this.#take(BARE_FINAL.length);
    this.#answer();
  }

  #header(): void {
    const at = this.#held.indexOf(MESSAGE);
    if (at < 0 && this.#held.length <= MAX_HEADER_CHARS) return;
    if (at < 0 || at > MAX_HEADER_CHARS) {
      this.#held = this.#head + this.#held;
      return this.#answer();
    }
    const header = this.#take(at);
    this.#take(MESSAGE.length);
    const name = /[a-z]+/.exec(header)?.[0] ?? "final";
    const recipient = /\bto=([^\s<]+)/.exec(header)?.[1] ?? null;
    if (name === "final" && recipient === null) return this.#answer();
    this.#where = { in: "body", name, recipient };
  }

  #readBody(where: Extract<Where, { in: "body" }>, pieces: ChannelPiece[]): void {
    const end = BODY_END.exec(this.#held);
    if (end === null) {
      const may = MAY_GO_ON.exec(this.#held.slice(-MESSAGE.length));
      this.#body.push(this.#take(this.#held.length - (may?.[0].length ?? 0)));
      return;
    }
    const body = this.#take(end.index);
    this.#take(end[0].length);
    this.#endBody(body, where, pieces);
    this.#where = { in: "between" };
  }

  #endBody(rest: string, { name, recipient }: Extract<Where, { in: "body" }>, pieces: ChannelPiece[]): void {
    const body = this.#bodyWith(rest);
    if (recipient !== null) this.calls.push({ name: recipient, args: body });
    else if (name === "analysis") pieces.push({ is: "thought", text: body });
    else this.#preamble = body;
  }

  #between(): void {
    const begun = this.#held.trimStart();
    this.#held = begun;
    const isHead = START.startsWith(begun.slice(0, START.length)) || begun.startsWith(CHANNEL);
    if (begun === "") return;
    const next = /<\|(channel|message)\|>/.exec(begun);
    if (isHead && next === null && begun.length <= MAX_HEADER_CHARS) return;
    if (!isHead && CHANNEL.startsWith(begun)) return;
    if (!isHead || next === null || next.index > MAX_HEADER_CHARS) return this.#answer();
    this.#head = begun.slice(0, next.index + next[0].length);
    this.#held = begun.slice(this.#head.length);
    if (next[1] === "message") return this.#answer();
    this.#where = { in: "header" };
  }

  #bodyWith(rest: string): string {
    return this.#body.splice(0).join("") + rest;
  }

  #answer(): void {
    this.#hasAnswer = true;
    this.#where = { in: "answer" };
  }

  #take(chars: number): string {
    const taken = this.#held.slice(0, chars);
    this.#held = this.#held.slice(chars);
    return taken;
  }
}
