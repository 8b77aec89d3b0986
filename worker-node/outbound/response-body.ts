import type { IncomingMessage } from "node:http";
import type { Transform } from "node:stream";
import { pipeline } from "node:stream";
import zlib from "node:zlib";
import { messageOf } from "../../shared/log.ts";
import { TerminalError } from "../engine/step-errors.ts";

/** The encodings of RFC 9110, 8.4.1, and what browsers take besides. Each must be decoded, asked for or not. */
const DECODERS: { [encoding: string]: () => Transform } = {
  gzip: () => zlib.createGunzip(),
  "x-gzip": () => zlib.createGunzip(),
  br: () => zlib.createBrotliDecompress(),
  zstd: () => zlib.createZstdDecompress(),
};

/**
 * The text of a response. `maxBytes` limits what comes out of the decoders: a small body may hold a gigabyte.
 * @throws TerminalError `answer_too_large`, or `answer_encoding` for an encoding that is unknown or not what it says
 */
export async function readBody(response: IncomingMessage, maxBytes: number): Promise<string> {
  const encodings = encodingsOf(response);
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  let inflate: Transform | undefined;
  for await (const part of encodings.length === 0 ? response : decoded(response, encodings)) {
    const chunk: Uint8Array = part;
    sizeBytes += chunk.byteLength;
    if (sizeBytes > maxBytes)
      throw new TerminalError("answer_too_large", `the answer is larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
