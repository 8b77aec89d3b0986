/** The bytes of a request, up to a limit. */
import type { IncomingMessage } from "node:http";
import { RestError } from "./rest-error.ts";

/** Beyond this many times the limit a sender is no longer heard out. */
const drainFactor = 8;

/**
 * Read a body whole. One that is too large is read to its end and thrown away before the 413 is said: answering
 * while the client still sends resets the connection, and the client sees that instead of the reason.
 * The wait is bounded by the server's `requestTimeout`.
 *
 * @throws RestError 413
 */
export function readBody(req: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    req.on("data", (chunk: Buffer) => {
      sizeBytes += chunk.length;
      if (sizeBytes <= maxBytes) chunks.push(chunk);
      else if (sizeBytes > maxBytes * drainFactor) req.destroy();
      else chunks.length = 0;
    });
    req.on("end", () => {
      if (sizeBytes > maxBytes) {
        const message = `ERR max request size exceeded. Limit: ${maxBytes} bytes, Actual: ${sizeBytes} bytes`;
        reject(new RestError(413, message));
      } else {
        const [only] = chunks;
        resolve(chunks.length === 1 && only ? only : Buffer.concat(chunks));
      }
    });
    req.on("error", reject);
  });
}
