/** A client that stops in the body of its request. */
import { once } from "node:events";
import { connect } from "node:net";
import type { Edge } from "./edge.ts";

/** Sends a head and the beginning of a body, and nothing more. @returns the beginning of the response */
export async function answerOfStopped(edge: Edge, path: string, fields: readonly string[]): Promise<string> {
  const socket = connect(Number(new URL(edge.base).port), "127.0.0.1");
  try {
    socket.write(`POST ${path} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n3\r\nabc\r\n`);
    const [first] = await once(socket, "data");
    return String(first);
  } finally {
    socket.destroy();
  }
}
