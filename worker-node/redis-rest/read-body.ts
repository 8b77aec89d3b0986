/** Reads the body of a request, up to a limit. */
import type { IncomingMessage } from "node:http";
import { RestError } from "./rest-error.ts";

/** A body of more than this many times the limit is not read to its end: the connection is destroyed. */
const DRAIN_FACTOR = 8;

/**
 * Reads a body as a whole. A body over the limit is read to its end and dropped before the 413 is sent. A response while the client
 * still sends would reset the connection, and the client would see the reset and not the reason. The server's `requestTimeout`
 * bounds the wait.
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
      else if (sizeBytes > maxBytes * DRAIN_FACTOR) req.destroy();
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
