import type { Context } from "hono";
import { z } from "zod";
import { log, messageOf } from "../../shared/log.ts";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "../http/api.ts";
import { toAppError } from "../http/problem.ts";
import { reconnectLater } from "./sse.ts";

/**
 * How clients that cannot set a header spell their position in the query: `lastEventId` is event-source-polyfill's
 * default, `lastEventID` that of the Mercure protocol. A spelling that is not understood replays the whole run at each
 * reconnect, for ever.
 */
const POSITION_NAMES = [
  "lastEventId",
  "lastEventID",
  "last-event-id",
  "Last-Event-ID",
  "last_event_id",
] as const;

/** Ids or tokens separated by commas, or in several parameters of the same name. */
const list = z
  .union([z.string(), z.array(z.string())])
  .optional()
  .transform((values) => [values ?? []].flat().flatMap((value) => value.split(",")));

const text = z.union([z.string(), z.array(z.string())]).optional();

/** The query of every stream. */
export const StreamQuery = z.object({
  token: list.meta({ description: "A stream token, or several separated by commas; or an API key" }),
  lastEventId: text,
  lastEventID: text,
  "last-event-id": text,
  "Last-Event-ID": text,
  last_event_id: text.meta({
    description:
      "The same as the header `Last-Event-ID`, which goes first. Other spellings are understood too",
  }),
});

export const StreamHeaders = z.object({ "last-event-id": z.string().optional() });

/** The id of the last event that the viewer has: of the header, else of the query. */
export function lastEventIdOf(
  headers: z.infer<typeof StreamHeaders>,
  query: z.infer<typeof StreamQuery>,
): string | undefined {
  const inQuery = POSITION_NAMES.map((name) => [query[name] ?? []].flat().at(-1));
  return headers["last-event-id"] ?? inQuery.find((id) => id !== undefined);
}

/**
 * Answers with a stream. An EventSource gives up for good on an error status, so whatever is over in a moment is answered
 * with a stream that only asks the viewer to come back.
 */
export async function streamOrLater(open: () => Promise<Response>): Promise<Response> {
  try {
    return await open();
  } catch (error) {
    if (toAppError(error).status === 503) return reconnectLater();
    throw error;
  }
}

/** A stream of an object of the edge, which may be replaced at any time: its failure is over in a moment. */
export async function fromObject(c: Context<ApiEnv>, open: () => Promise<Response>): Promise<Response> {
  try {
    return await open();
  } catch (error) {
    if (error instanceof AppError) throw error;
    log.warn("stream.object_failed", { request: c.get("requestId"), message: messageOf(error) });
    return reconnectLater();
  }
}
