import { z } from "zod";
import type { SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { GuardedFetch } from "../../outbound/guarded-fetch.ts";
import { TerminalError } from "../../engine/step-errors.ts";

/** The request whose stream may end without an answer: that of the notices that the library waits for. */
const WITHOUT_ANSWER = "subscriptions/listen";

/** The answer to a request never comes. `unreadable`: what came in its place was no message of the protocol. */
export class LostAnswer extends Error {
  override readonly name = "LostAnswer";
  readonly unreadable: Error | null;

  constructor(unreadable: Error | null) {
    super(unreadable?.message ?? "the stream of the answer has ended without it");
    this.unreadable = unreadable;
  }
}

export type LossObserver = {
  /** The exchange of the use that is under way. */
  exchange(): GuardedFetch;
  /** Ends the use that is under way when this is called. */
  loserOfUse(): (error: LostAnswer) => void;
};

/**
 * Observes Streamable HTTP before a client connects over it. A stream that ends or breaks without the answer, and cannot be resumed, loses
 * the answer; so does one that is too large, which the library would request again. The library reports neither to the request, which
 * would wait for the whole time of a call.
 *
 * Only the use that has sent the request loses its answer: the library takes the answer to its first request (`server/discover`) by itself,
 * and the stream of that ends during the next use.
 */
export function observeStreams(
  transport: StreamableHTTPClientTransport,
  { exchange, loserOfUse }: LossObserver,
): void {
  const awaited = new Set<string | number>();
  let unreadable: Error | null = null;
  const send = transport.send.bind(transport);
  transport.send = async (message, options) => {
    const id = "method" in message && "id" in message ? message.id : undefined;
    if (id === undefined || ("method" in message && message.method === WITHOUT_ANSWER))
      return send(message, options);
    awaited.add(id);
    const lose = loserOfUse();
    const onRequestStreamEnd = (): void => {
      options?.onRequestStreamEnd?.();
      if (awaited.delete(id)) lose(new LostAnswer(unreadable));
    };
    await send(message, { ...options, onRequestStreamEnd });
  };
  // The library calls these handlers before its own.
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the library has callbacks, and no events
  transport.onmessage = (message) => {
    if (!("method" in message) && message.id !== undefined) awaited.delete(message.id);
  };
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the library has callbacks, and no events
  transport.onerror = (error) => {
    if (isUnreadable(error)) unreadable = error;
    if (exchange().failure instanceof TerminalError && awaited.size > 0)
      loserOfUse()(new LostAnswer(unreadable));
  };
}

const Request = z.looseObject({ method: z.string(), id: z.union([z.string(), z.number()]) });

const Notification = z.looseObject({ method: z.string().startsWith("notifications/") });

/** Whether a message of the library is a request, which has an answer. */
export function isRequest({ body }: RequestInit): boolean {
  return typeof body === "string" && Request.safeParse(JSON.parse(body)).success;
}

/** Whether a message of the library is a notification, which has no answer. */
export function isNotification({ method, body }: RequestInit): boolean {
  if (method !== "POST" || typeof body !== "string") return false;
  const json: unknown = JSON.parse(body);
  return Notification.safeParse(json).success && !Request.safeParse(json).success;
}

/**
 * The response of a server that only accepts a request (HTTP 202) and has no other stream for the answer: a stream that ends without
 * it, which `observeStreams` reports. The library would wait for the whole time of a call.
 */
export async function endedStream({ body, headers }: Response): Promise<Response> {
  await body?.cancel();
  const types = new Headers(headers);
  types.set("content-type", "text/event-stream");
  return new Response("", { headers: types });
}

/**
 * Observes the older transport, whose one stream has all answers: a stream that breaks, or that cannot be read, loses them. A stream that
 * cannot be opened is an error of the connection, before the first message.
 */
export function observeStream(transport: SSEClientTransport, { loserOfUse }: LossObserver): void {
  let isOpen = false;
  const send = transport.send.bind(transport);
  transport.send = async (message) => {
    isOpen = true;
    await send(message);
  };
  // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the library has callbacks, and no events
  transport.onerror = (error) => {
    if (isOpen) loserOfUse()(new LostAnswer(isUnreadable(error) ? error : null));
  };
}

/** The library parses each message as JSON and by its schema. */
function isUnreadable(error: Error): boolean {
  return error instanceof SyntaxError || error.name.endsWith("ZodError");
}
