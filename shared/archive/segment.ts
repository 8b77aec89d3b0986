import { z } from "zod";
import { digestOfBytes, utf8 } from "../text/bytes.ts";
import { RunId } from "../contracts/ids.ts";
import { ArchivedEntry } from "./archived-entry.ts";
import { JoinedDeltas, joinDeltas, splitDeltas } from "./joined-deltas.ts";

// The journal of a run in a segment (docs/protocol.md 7.14): the length of the header (4 bytes), the header as JSON, then the
// blocks. A block is a gzip of lines of JSON: rows in order, text deltas joined. The header says which block holds an event number, so that a
// reader that begins at a `Last-Event-ID` reads the header and one block.

/** A line of a block: a row of the journal, or rows of a model's text. */
const BlockLine = z.union([JoinedDeltas, ArchivedEntry]);

/** A block in a header: the number of its last event, its compressed length, and the SHA-256 of its compressed bytes in hex. */
const Block = z.object({ last_seq: z.number().int(), bytes: z.number().int(), sha256: z.string() });
type Block = z.infer<typeof Block>;

/** The header of a part. It has the run's rewinds, because a fold needs them before the entries that they cut. */
export const PartHeader = z.object({
  run_id: RunId,
  blocks: z.array(Block).min(1),
  rewinds: z.array(z.object({ seq: z.number().int(), output: z.string() })),
});
export type PartHeader = z.infer<typeof PartHeader>;

/** The bytes before the header. */
export const LENGTH_BYTES = 4;

/** A block is closed when its rows have this much text, which is two pages of a viewer. An entry is never divided. */
const BLOCK_CHARS = 128 * 1024;
/** About what a row has besides its events and its output. */
const ROW_CHARS = 128;

/** Collects the rows of one run, in the order of their numbers, and holds them compressed. */
export class PartBuilder {
  readonly #run: RunId;
  readonly #blocks: Block[] = [];
  readonly #bytes: Uint8Array[] = [];
  readonly #rewinds: PartHeader["rewinds"] = [];
  readonly #joins: boolean;
  #rows: ArchivedEntry[] = [];
  #chars = 0;
  #seq = 0;
  #isTiled = true;

  /** @param joins whether text deltas are joined: all edges and workers can read such lines */
  constructor(run: RunId, { joins }: { joins: boolean }) {
    this.#run = run;
    this.#joins = joins;
  }

  /** Adds the next row. A row that leaves a gap in the numbers makes `finish` return null. */
  async add(entry: ArchivedEntry): Promise<void> {
    // docs/protocol.md 14.2: entries tile the numbers from 1 on.
    if (entry.seq - entry.events_n !== this.#seq) this.#isTiled = false;
    this.#seq = entry.seq;
    if (entry.kind === "rewind") this.#rewinds.push({ seq: entry.seq, output: entry.output ?? "" });
    this.#rows.push(entry);
    this.#chars += entry.events.length + (entry.output?.length ?? 0) + ROW_CHARS;
    if (this.#chars >= BLOCK_CHARS) await this.#closeBlock();
  }

  /**
   * The bytes of the journal up to event number `eventSeq`.
   * @returns null when the rows are not all entries from number 1 to `eventSeq`
   */
  async finish(eventSeq: number): Promise<Uint8Array[] | null> {
    if (!this.#isTiled || this.#seq !== eventSeq || eventSeq === 0) return null;
    if (this.#rows.length > 0) await this.#closeBlock();
    const header: PartHeader = { run_id: this.#run, blocks: this.#blocks, rewinds: this.#rewinds };
    const text = utf8(JSON.stringify(header));
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, text.length);
    return [length, text, ...this.#bytes];
  }

  async #closeBlock(): Promise<void> {
    const lines = this.#joins ? joinDeltas(this.#rows) : this.#rows;
    const compressed = await gzip(utf8(lines.map((line) => JSON.stringify(line)).join("\n")));
    this.#bytes.push(compressed);
    this.#blocks.push({
      last_seq: this.#seq,
      bytes: compressed.length,
      sha256: await digestOfBytes("SHA-256", compressed),
    });
    this.#rows = [];
    this.#chars = 0;
  }
}

/** The rows of a block. @throws Error for bytes that are not those that were archived */
export async function rowsOf(block: Block, compressed: Uint8Array<ArrayBuffer>): Promise<ArchivedEntry[]> {
  if ((await digestOfBytes("SHA-256", compressed)) !== block.sha256)
    throw new Error("a block of an archived journal does not have its SHA-256");
  const text = new TextDecoder().decode(await gunzip(compressed));
  return splitDeltas(text.split("\n").map((line) => BlockLine.parse(JSON.parse(line))));
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
