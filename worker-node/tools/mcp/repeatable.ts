import { z } from "zod";

/**
 * Methods of requests that change nothing, or nothing but the connection: a server may get them twice. A second `initialize` begins a
 * session that ends by its server's own time.
 */
const REPEATABLE: ReadonlySet<string> = new Set([
  "initialize",
  "notifications/initialized",
  "server/discover",
  "subscriptions/listen",
  "tools/list",
  "tasks/get",
  "tasks/result",
  "tasks/cancel",
]);
/** A longer message is that of a call. */
const MAX_CHARS = 8_192;

const Rpc = z.looseObject({ method: z.string() });

/** Whether the server may get an HTTP request of the client library twice. What is not known may not: a call of a tool acts. */
export function mayRepeat({ method = "GET", body }: RequestInit): boolean {
  if (method === "GET" || method === "DELETE") return true;
  if (typeof body !== "string" || body.length > MAX_CHARS) return false;
  try {
    return REPEATABLE.has(Rpc.parse(JSON.parse(body)).method);
  } catch {
    return false;
  }
}
