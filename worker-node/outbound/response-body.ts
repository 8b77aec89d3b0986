import type { IncomingMessage } from "node:http";
import { pipeline, Readable } from "node:stream";
import type { Transform } from "node:stream";
import { promisify } from "node:util";
import zlib from "node:zlib";
import { TerminalError } from "../engine/step-errors.ts";

type Decode = (body: Uint8Array, limit: { maxOutputLength: number }) => Promise<Buffer>;
const gunzip: Decode = promisify(zlib.gunzip);
const inflate: Decode = promisify(zlib.inflate);
const inflateRaw: Decode = promisify(zlib.inflateRaw);

/** The encodings that are decoded, asked for or not (RFC 9110, 8.4.1): some servers compress whatever a request says. */
const DECODERS: { [encoding: string]: Decode } = {
  gzip: gunzip,
  "x-gzip": gunzip,
  // Servers send `deflate` with a zlib header, as it is specified, and without one.
  deflate: (body, limit) => (hasZlibHeader(body) ? inflate(body, limit) : inflateRaw(body, limit)),
  br: promisify(zlib.brotliDecompress),
  zstd: promisify(zlib.zstdDecompress),
};
/** The decoders of a body that is decoded as it arrives. */
const STREAMS: { [encoding: string]: (first: Uint8Array) => Transform } = {
  gzip: () => zlib.createGunzip(),
  "x-gzip": () => zlib.createGunzip(),
  deflate: (first) => (hasZlibHeader(first) ? zlib.createInflate() : zlib.createInflateRaw()),
  br: () => zlib.createBrotliDecompress(),
  zstd: () => zlib.createZstdDecompress(),
};
/** Words that servers send although the body is not encoded. S3 keeps `aws-chunked`, the encoding in which a body was sent to it. */
const NONE: ReadonlySet<string> = new Set(["", "identity", "none", "utf-8", "utf8", "binary", "aws-chunked"]);
/** The part of a text in which it may name its charset, as in HTML. */
const START_CHARS = 1_024;
/** The most bytes by which an encoding makes a body longer that cannot be compressed. */
const OVERHEAD_BYTES = 64 * 1024;

/**
 * The text of a response, decoded. `maxBytes` limits what comes out of the decoders: a small body may hold a gigabyte.
 * @throws TerminalError `answer_too_large`, or `answer_encoding` for an encoding that is not known, or not what was sent, and for
 * what is no text
 */
export async function readBody(response: IncomingMessage, maxBytes: number): Promise<string> {
  const encodings = encodingsOf(response);
  const isEncoded = encodings.length > 0;
  let body = await readBytes(response, isEncoded ? maxBytes + OVERHEAD_BYTES : maxBytes, maxBytes);
  if (body.byteLength > 0) {
    for (const encoding of encodings.toReversed()) body = await decode(body, encoding, maxBytes);
  }
  return textIn(body, response.headers["content-type"] ?? "");
}

/** The encodings of a body, in the order in which they were applied. */
function encodingsOf(response: IncomingMessage): string[] {
  const { "content-encoding": encodings } = response.headers;
  if (encodings === undefined) return [];
  return encodings
    .split(",")
    .map((name) => name.trim().toLowerCase())
    .filter((name) => !NONE.has(name));
}

function hasZlibHeader(body: Uint8Array): boolean {
  return ((body[0] ?? 0) & 0x0f) === 8;
}

/**
 * The bytes of a response as they arrive, decoded. The reader limits their number: a small body may hold a gigabyte.
 *
 * `isGzipFile`: the name or the type says that they are a gzip file. Some servers name the gzip of such a file as the encoding of the body: then
 * it is not decoded, because the result would be another file than the name says. Others encode it once more.
 * @throws TerminalError `answer_encoding` for an encoding that is not known, or not what was sent
 */
export async function* decodedStream(
  response: IncomingMessage,
  { isGzipFile }: { isGzipFile: boolean } = { isGzipFile: false },
): AsyncGenerator<Uint8Array> {
  const encodings = encodingsOf(response).toReversed();
  for (const encoding of encodings) {
    if (!Object.hasOwn(STREAMS, encoding)) throw unknownEncoding(encoding);
  }
  let decoded: AsyncGenerator<Uint8Array> = bytesOf(response);
  if (isGzipFile && /^(?:x-)?gzip$/.test(encodings.join())) {
    const first = await decoded.next();
    if (first.done) return;
    decoded = joined(first.value, decoded);
    if (!holdsGzip(first.value)) return yield* decoded;
  }
  for (const encoding of encodings) decoded = decodedBy(encoding, decoded);
  try {
    yield* decoded;
  } catch (cause) {
    if (response.errored) throw response.errored;
    if (encodings.length === 0) throw cause;
    throw notEncoded(encodings.join(", "), cause);
  }
}

/** Whether gzip, of which these are the first bytes, has a gzip file in it. */
function holdsGzip(first: Uint8Array): boolean {
  try {
    const [one, two] = zlib.gunzipSync(first.subarray(0, 1_024), {
      finishFlush: zlib.constants.Z_SYNC_FLUSH,
    });
    return one === 0x1f && two === 0x8b;
  } catch {
    return false;
  }
}

async function* joined(first: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first;
  yield* rest;
}

async function* bytesOf(response: IncomingMessage): AsyncGenerator<Uint8Array> {
  yield* response;
}

/** The decoder is chosen by the first bytes. A body without any is not encoded, whatever its header says. */
async function* decodedBy(encoding: string, body: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  const first = await body.next();
  if (first.done) return;
  const decoder = STREAMS[encoding]?.(first.value);
  if (decoder === undefined) throw unknownEncoding(encoding);
  yield* pipeline(Readable.from(joined(first.value, body), { objectMode: false }), decoder, () => {});
}

/** A text in the charset that its type or its first bytes name, else UTF-8, else the one that it names itself, else what servers wrote before UTF-8. */
function textIn(body: Uint8Array, type: string): string {
  const charset = /charset\s*=\s*["']?([\w.:-]+)/i.exec(type)?.[1] ?? markOf(body);
  const named = charset === undefined ? undefined : decodeAs(charset, body);
  if (named !== undefined) return named;
  const text = decodeAs("utf-8", body) ?? "";
  if (!text.includes("\ufffd") || !body.some((byte) => byte >= 0x80)) return text;
  const hasOtherChars = /[^\0-\x7f\ufffd]/.test(text);
  const isTextType = /^\s*$|^text\/|json|xml|javascript|yaml|csv|urlencoded/i.test(type);
  if (!isTextType || body.includes(0)) {
    const what = type === "" ? "no text" : `no text, but ${type.slice(0, 50)}`;
    throw new TerminalError("answer_encoding", `the answer is ${what}`);
  }
  const own = ownCharset(text);
  const ownText = own === undefined ? undefined : decodeAs(own, body);
  if (ownText !== undefined) return ownText;
  // UTF-8 with a character that was cut stays UTF-8.
  return hasOtherChars ? text : (decodeAs("windows-1252", body) ?? text);
}

/** The charset that XML or a page names at its beginning. It is neither UTF-8, which was tried, nor UTF-16, whose bytes name none that can be read here. */
function ownCharset(text: string): string | undefined {
  const start = text.slice(0, START_CHARS);
  const [, ofXml, ofPage] =
    /<\?xml\b[^>]*?\bencoding\s*=\s*["']([\w.:-]+)|<meta\b[^>]*?\bcharset\s*=\s*["']?([\w.:-]+)/i.exec(
      start,
    ) ?? [];
  const named = ofXml ?? ofPage;
  return named === undefined || /^(?:utf|ucs|unicode)/i.test(named) ? undefined : named;
}

/** The charset that a byte order mark stands for. */
function markOf([first, second]: Uint8Array): string | undefined {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  return first === 0xfe && second === 0xff ? "utf-16be" : undefined;
}

/** Nearly all texts are in UTF-8; a decoder for each would take longer than the decoding. */
const UTF8 = new TextDecoder("utf-8");

/** Undefined: there is no such charset. A byte order mark is left out. */
function decodeAs(charset: string, body: Uint8Array): string | undefined {
  if (charset === "utf-8") return UTF8.decode(body);
  try {
    return new TextDecoder(charset).decode(body);
  } catch {
    return undefined;
  }
}

/** By events: an async iterator costs more than the rest of the reading of a short body. */
function readBytes(response: IncomingMessage, limit: number, maxBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let sizeBytes = 0;
    response.on("data", (chunk: Uint8Array) => {
      sizeBytes += chunk.byteLength;
      if (sizeBytes <= limit) chunks.push(chunk);
      else response.destroy(tooLarge(maxBytes));
    });
    let isComplete = false;
    const cutOff = (): void => {
      // Each response closes after its end, and an error with its stack takes as long as the rest of the reading.
      if (!isComplete) reject(new Error("the answer was cut off before its end"));
    };
    response.on("end", () => {
      isComplete = true;
      resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
    });
    response.on("error", reject);
    response.on("close", cutOff);
    if (response.destroyed) cutOff();
  });
}

async function decode(body: Uint8Array, encoding: string, maxBytes: number): Promise<Buffer> {
  const decoder = Object.hasOwn(DECODERS, encoding) ? DECODERS[encoding] : undefined;
  if (decoder === undefined) throw unknownEncoding(encoding);
  try {
    return await decoder(body, { maxOutputLength: maxBytes });
  } catch (cause) {
    if (cause instanceof RangeError) throw tooLarge(maxBytes);
    throw notEncoded(encoding, cause);
  }
}

function unknownEncoding(encoding: string): TerminalError {
  const message = `the answer has the encoding "${encoding.slice(0, 50)}", which is not known`;
  return new TerminalError("answer_encoding", message);
}

function notEncoded(encoding: string, cause: unknown): TerminalError {
  const isCut = cause instanceof Error && "code" in cause && cause.code === "Z_BUF_ERROR";
  const fault = isCut ? "ends before its end" : "it is not";
  const message = `the answer says it is encoded as ${encoding}, and ${fault}`;
  return new TerminalError("answer_encoding", message, { cause });
}

function tooLarge(maxBytes: number): TerminalError {
  return new TerminalError("answer_too_large", `the answer is larger than ${maxBytes} bytes`);
}
