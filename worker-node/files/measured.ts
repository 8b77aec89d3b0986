import { createHash } from "node:crypto";
import { ToolRejection } from "../engine/step-errors.ts";

/**
 * Passes the bytes of a file on, and counts and hashes them. `facts` has their number and SHA-256 when all have passed; the caller calls
 * it once. The iteration throws the reason of `signal` when that aborts, and ToolRejection `file_too_large` for more than `maxBytes`.
 */
export function measured(
  bytes: AsyncIterable<Uint8Array> | Uint8Array,
  maxBytes: number,
  signal: AbortSignal,
) {
  const hash = createHash("sha256");
  let length = 0;
  async function* pass(): AsyncGenerator<Uint8Array> {
    for await (const part of bytes instanceof Uint8Array ? [bytes] : bytes) {
      signal.throwIfAborted();
      length += part.byteLength;
      if (length > maxBytes) {
        throw new ToolRejection(`the file has more than ${maxBytes} bytes, which is this tenant's limit`, {
          code: "file_too_large",
        });
      }
      hash.update(part);
      yield part;
    }
  }
  return { stream: pass(), facts: () => ({ bytes: length, sha256: hash.digest("hex") }) };
}
