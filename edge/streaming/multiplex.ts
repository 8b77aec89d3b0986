import type { RunId } from "../../shared/contracts/ids.ts";
import { eventId, readPosition } from "../../shared/events/lines.ts";
import { RETRY, SSE_HEADERS } from "./sse-writer.ts";

/** One run of a multiplexed stream. `events`: its own stream from event number `after` + 1 on; null: no event follows. */
export type Part = { run: RunId; after: number; events: ReadableStream<Uint8Array> | null };

/**
 * Reads the id of a multiplexed stream: the positions of its runs, in the order of the request, separated by commas.
 * Returns null for a malformed id.
 */
export function readPositions(runs: readonly RunId[], id: string | undefined): number[] | null {
  if (id === undefined || id === "" || id === "0") return runs.map(() => 0);
  const parts = id.split(",");
  if (parts.length !== runs.length) return null;
  const positions = runs.map((run, i) => readPosition(run, parts[i]));
  return positions.includes(null) ? null : positions.map((position) => position ?? 0);
}

/**
 * Merges the streams of several runs into one. The data of an event is the same as in its run's own stream; its id is
 * the vector of all positions, so that a viewer resumes each run exactly.
 *
 * The stream ends when all runs have ended, or with the first part that is cut off: the viewer then reconnects with
 * its last id.
 */
export function multiplex(parts: readonly Part[]): Response {
  const positions = parts.map((part) => part.after);
  const readers = parts.map((part) => part.events?.pipeThrough(new TextDecoderStream()).getReader() ?? null);
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const encoder = new TextEncoder();
  const idVector = () => parts.map((part, i) => eventId(part.run, positions[i] ?? 0)).join(",");

  async function pump(index: number): Promise<void> {
    const [part, reader] = [parts[index], readers[index]];
    if (!part || !reader) return;
    let done = false;
    for await (const block of blocksOf(reader)) {
      // Every part begins with `retry:`, which this stream has sent once already.
      if (block.startsWith("retry:")) continue;
      const [, seq, data] = /^id: \d+-(\d+)\n(data: .*)$/s.exec(block) ?? [];
      if (data !== undefined) {
        positions[index] = Number(seq);
        done = IS_DONE.test(data);
      }
      await writer.write(encoder.encode(`${data === undefined ? block : `id: ${idVector()}\n${data}`}\n\n`));
    }
    if (!done) throw new Error("a part of the stream was cut off before its run ended");
  }

  void (async () => {
    try {
      await writer.write(RETRY);
      await Promise.all(parts.map((_, index) => pump(index)));
    } catch {
      // A part was cut off or the viewer has left. All parts end, and a viewer that has not left reconnects.
    }
    await Promise.allSettled(readers.map(async (reader) => reader?.cancel()));
    await writer.close().catch(() => {});
  })();
  return new Response(readable, { headers: SSE_HEADERS });
}

/** The beginning of the event that ends a run. A client's own values, which may look like it, come later in the data of an event. */
const IS_DONE = /^data: \{"run_id":"[^"]*","seq":\d+,"type":"done"/;

/**
 * The blocks of an event stream, without the empty lines that end them. The work is linear in the bytes: an event of megabytes comes in
 * many pieces.
 */
async function* blocksOf(reader: ReadableStreamDefaultReader<string>): AsyncGenerator<string> {
  let pieces: string[] = [];
  // A line feed at the end of a piece: the next piece may begin with another one.
  let held = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const text = held + read.value;
    held = text.endsWith("\n") && !text.endsWith("\n\n") ? "\n" : "";
    const [rest = "", ...blocks] = text.slice(0, text.length - held.length).split("\n\n");
    pieces.push(rest);
    for (const block of blocks) {
      yield pieces.join("");
      pieces = [block];
    }
  }
}
