import type net from "node:net";
import { guardedUrl } from "../../../shared/contracts/definition/sql-tool.ts";
import type { Egress } from "../../outbound/egress-guard.ts";
import { connectGuarded } from "../../outbound/guarded-connect.ts";
import { ToolRejection } from "../../engine/step-errors.ts";

/** The most bytes that a database may send in one call. The driver holds a row until it is complete, and a row may have a gigabyte. */
const MAX_RECEIVED_BYTES = 16 * 1024 * 1024;
/** The time between two checks of the bytes received. */
const CHECK_MS = 20;

/** A connection for one call. `failure` rejects when it is closed, or when the other side has sent more than 16 MiB. */
export type Connected = { socket: net.Socket; failure: Promise<never>; close(): void };

/**
 * Connects to a database that the egress guard allows.
 * @throws TerminalError `egress_blocked`; the error of the connection, or the reason of `signal`
 */
export async function connectTo(
  { host, port }: { host: string; port: number },
  egress: Egress,
  signal: AbortSignal,
): Promise<Connected> {
  // A database may have any port but those at which no HTTP request may be made either.
  egress.check(new URL(guardedUrl({ host, port })));
  const socket = await connectGuarded({ host, port }, egress, signal);
  const { promise: failure, reject } = Promise.withResolvers<never>();
  failure.catch(() => {});
  // A timer checks the socket, because the driver removes all listeners of a socket on which it speaks TLS.
  const checks = setInterval(() => {
    if (socket.bytesRead > MAX_RECEIVED_BYTES) {
      const message = `the result is larger than ${MAX_RECEIVED_BYTES} bytes: ask for less`;
      reject(new ToolRejection(message, { code: "answer_too_large" }));
      close();
    } else if (socket.destroyed) {
      reject(new Error("the connection was closed"));
      close();
    }
  }, CHECK_MS);
  const close = (): void => {
    clearInterval(checks);
    socket.destroy();
  };
  return { socket, failure, close };
}

/** Gives a socket once. The driver would connect again after a lost connection, and a call has one connection. */
export function once(socket: net.Socket): () => net.Socket {
  let isTaken = false;
  return () => {
    if (isTaken) throw new Error("the connection was closed");
    isTaken = true;
    return socket;
  };
}
