/**
 * Encodes Redis' replies as JSON; resp2-reply.ts as the bytes of the protocol.
 *
 * Replies arrive undecoded: strings as bytes, integers as their digits (`stringNumbers`), arrays nested as in Redis.
 * The text is concatenated by hand: an integer above 2^53 keeps every digit, and no copy of the reply is built only to
 * be serialised.
 */

/** The encodings of a response. */
export type Encoding = "plain" | "base64" | "resp2";

/**
 * A reply as JSON. With base64 every string is encoded, except a reply that is `OK` alone: clients expect that as plain
 * text. They decode an `OK` inside an array, so it is encoded. Without base64, bytes that are not UTF-8 become U+FFFD.
 * Source: Upstash, REST API, "Base64 Encoded Responses".
 */
function jsonReply(reply: unknown, encoding: "plain" | "base64", nested = false): string {
  if (reply === null || reply === undefined) return "null";
  if (Buffer.isBuffer(reply)) {
    if (encoding === "plain") return JSON.stringify(reply.toString());
    return !nested && isOk(reply) ? '"OK"' : `"${reply.toString("base64")}"`;
  }
  if (typeof reply === "string") return reply;
  if (Array.isArray(reply)) {
    let text = "[";
    for (let i = 0; i < reply.length; i++) text += (i > 0 ? "," : "") + jsonReply(reply[i], encoding, true);
    return `${text}]`;
  }
  // A script may put an error into a table; this protocol has no form for it.
  if (reply instanceof Error) return jsonReply(Buffer.from(reply.message), encoding, true);
  throw new TypeError(`a reply of the unknown type ${typeof reply}`);
}

/** The body of the response to a command that Redis has executed. */
export const jsonResult = (reply: unknown, encoding: "plain" | "base64") =>
  `{"result":${jsonReply(reply, encoding)}}`;

/** The body of the response to a command that failed. */
export const jsonError = (message: string) => `{"error":${JSON.stringify(message)}}`;

const isOk = (bytes: Buffer) => bytes.length === 2 && bytes[0] === 0x4f && bytes[1] === 0x4b;
