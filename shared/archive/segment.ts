import { z } from "zod";
import { digestOfBytes, utf8 } from "../bytes.ts";
import { EntryKind } from "../contracts/journal-entry.ts";
import { RunId } from "../contracts/ids.ts";

// The journal of a run in a segment (docs/protocol.md 7.14): the length of the header (4 bytes), the header as JSON, then the
// blocks. A block is a gzip of rows, one JSON a line, in order. The header says which block holds an event number, so that a
// reader that begins at a `Last-Event-ID` reads the header and one block.

/** A row of the journal as a segment keeps it: all its columns. `at_us`: microseconds since 1970. */
export const ArchivedEntry = z.object({
  seq: z.number().int(),
  events_n: z.number().int().positive(),
  attempt: z.number().int(),
  kind: EntryKind,
  step_path: z.string().nullable(),
  visit: z.number().int().nullable(),
  output: z.string().nullable(),
  events: z.string(),
  at_us: z.number().int(),
});
export type ArchivedEntry = z.infer<typeof ArchivedEntry>;

/** `bytes`: of the compressed block. `sha256` is that of the compressed block, in hex. */
const Block = z.object({ last_seq: z.number().int(), bytes: z.number().int(), sha256: z.string() });
type Block = z.infer<typeof Block>;

/** A fold needs the rewinds before the entries that they cut. */
export const PartHeader = z.object({
  run_id: RunId,
  blocks: z.array(Block).min(1),
  rewinds: z.array(z.object({ seq: z.number().int(), output: z.string() })),
});
export type PartHeader = z.infer<typeof PartHeader>;

/** The bytes before the header. */
export const LENGTH_BYTES = 4;

/** The text of a block before compression, except that an entry is never divided: two pages of a viewer. */
const BLOCK_CHARS = 128 * 1024;

/** Collects the rows of one run, in the order of their numbers, and holds them compressed. */
export class PartBuilder {
  readonly #run: RunId;
  readonly #blocks: Block[] = [];
  readonly #bytes: Uint8Array[] = [];
  readonly #rewinds: PartHeader["rewinds"] = [];
  #lines: string[] = [];
  #chars = 0;
  #seq = 0;
  #isTiled = true;

  constructor(run: RunId) {
    this.#run = run;
  }

  async add(entry: ArchivedEntry): Promise<void> {
    // docs/protocol.md 14.2: entries tile the numbers from 1 on.
    if (entry.seq - entry.events_n !== this.#seq) this.#isTiled = false;
    this.#seq = entry.seq;
    if (entry.kind === "rewind") this.#rewinds.push({ seq: entry.seq, output: entry.output ?? "" });
    const line = JSON.stringify(entry);
    this.#lines.push(line);
    this.#chars += line.length;
    if (this.#chars >= BLOCK_CHARS) await this.#closeBlock();
  }

  /**
   * The bytes of the journal up to event number `eventSeq`.
   * @returns null when the rows are not all entries from number 1 to `eventSeq`
   */
  async finish(eventSeq: number): Promise<Uint8Array[] | null> {
    if (!this.#isTiled || this.#seq !== eventSeq || eventSeq === 0) return null;
    if (this.#lines.length > 0) await this.#closeBlock();
    const header: PartHeader = { run_id: this.#run, blocks: this.#blocks, rewinds: this.#rewinds };
    const text = utf8(JSON.stringify(header));
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, text.length);
    return [length, text, ...this.#bytes];
  }

  async #closeBlock(): Promise<void> {
    const compressed = await gzip(utf8(this.#lines.join("\n")));
    this.#bytes.push(compressed);
    this.#blocks.push({
      last_seq: this.#seq,
      bytes: compressed.length,
      sha256: await digestOfBytes("SHA-256", compressed),
    });
    this.#lines = [];
    this.#chars = 0;
  }
}

/** The rows of a block. @throws Error for bytes that are not those that were archived */
export async function rowsOf(block: Block, compressed: Uint8Array<ArrayBuffer>): Promise<ArchivedEntry[]> {
  if ((await digestOfBytes("SHA-256", compressed)) !== block.sha256)
    throw new Error("a block of an archived journal does not have its SHA-256");
  const text = new TextDecoder().decode(await gunzip(compressed));
  return text.split("\n").map((line) => ArchivedEntry.parse(JSON.parse(line)));
}

function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return collect(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip")));
}

function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return collect(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

async function collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
