import { z } from "zod";
import { JsonValue, isObject } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

const Options = z.record(z.string(), z.record(z.string(), JsonValue));

/**
 * An answer as its provider gave it: what it thought, signatures and ids that only it understands. It wants them back
 * unchanged with the next request. `message` belongs to the whole answer; a call is found by its id.
 */
export const AnswerParts = z.object({
  message: Options.optional(),
  content: z.array(
    z.discriminatedUnion("type", [
      z.object({ type: z.literal("text"), text: z.string(), options: Options.optional() }),
      z.object({ type: z.literal("reasoning"), text: z.string(), options: Options.optional() }),
      z.object({ type: z.literal("tool-call"), id: z.string(), options: Options.optional() }),
    ]),
  ),
});
/** The parts of an answer: see the schema. */
export type AnswerParts = z.infer<typeof AnswerParts>;
type Part = AnswerParts["content"][number];

/** Collects the parts of an answer from the SDK's stream. */
export class PartCollector {
  readonly #content: Part[] = [];
  readonly #open = new Map<string, Extract<Part, { text: string }>>();

  text(type: "text" | "reasoning", id: string, text: string, metadata: unknown): void {
    const key = `${type} ${id}`;
    const part = this.#open.get(key) ?? this.#begin(key, type);
    part.text += text;
    const options = optionsOf(metadata);
    if (options !== undefined) part.options = { ...part.options, ...options };
  }

  end(type: "text" | "reasoning", id: string, metadata: unknown): void {
    const part = this.#open.get(`${type} ${id}`);
    const options = optionsOf(metadata);
    if (part !== undefined && options !== undefined) part.options = { ...part.options, ...options };
    this.#open.delete(`${type} ${id}`);
  }

  call(id: string, metadata: unknown): void {
    const options = optionsOf(metadata);
    this.#content.push({ type: "tool-call", id, ...(options === undefined ? {} : { options }) });
  }

  /** Notes that all text so far was a thought. */
  restart(): void {
    for (const [i, part] of this.#content.entries()) {
      if (part.type === "text") this.#content[i] = { ...part, type: "reasoning" };
    }
    this.#open.clear();
  }

  /** Takes text out that stands at the end of all text, because it was calls. */
  takeText(text: string): void {
    const written = this.#content.filter((part) => part.type === "text");
    let chars = text.length;
    for (const part of written.toReversed()) {
      const kept = Math.max(0, part.text.length - chars);
      chars -= part.text.length - kept;
      part.text = part.text.slice(0, kept);
    }
  }

  /** The parts, if the provider may want them back; undefined when `answer` and calls are all there is. */
  parts(opaque: JsonObject, answer: string): Json | undefined {
    const text = this.#content.map((part) => (part.type === "text" ? part.text : "")).join("");
    const isPlain =
      text === answer &&
      Object.keys(opaque).length === 0 &&
      this.#content.every((part) => part.type !== "reasoning" && part.options === undefined);
    if (isPlain) return undefined;
    // The OpenAI-form package writes these fields into the assistant's message.
    const message = Object.keys(opaque).length === 0 ? {} : { message: { openaiCompatible: opaque } };
    return JsonValue.parse({ ...message, content: this.#content });
  }

  #begin(key: string, type: "text" | "reasoning"): Extract<Part, { text: string }> {
    const part = { type, text: "" };
    this.#content.push(part);
    this.#open.set(key, part);
    return part;
  }
}

/** The SDK's metadata as options of a later request: by provider, then by name. Undefined: there is none. */
function optionsOf(metadata: unknown): z.infer<typeof Options> | undefined {
  // Most pieces have none, and a failed parse is expensive.
  if (metadata === undefined) return undefined;
  const parsed = Options.safeParse(metadata);
  if (!parsed.success) return undefined;
  const report = Object.entries(parsed.data).filter(
    ([, fields]) => isObject(fields) && Object.keys(fields).length > 0,
  );
  return report.length === 0 ? undefined : Object.fromEntries(report);
}
