/**
 * SUBSCRIBE and PSUBSCRIBE as server-sent events.
 *
 * All viewers share one connection to Redis, which subscribes to each channel once. Messages that are published while
 * that connection is down are lost, as for any subscriber of Redis; the streams stay open and continue afterwards.
 */
import type { ServerResponse } from "node:http";
import type { Cluster, Redis } from "ioredis";
import { RestError, toRestError } from "./rest-error.ts";
import { UnreadBytes } from "./unread-bytes.ts";

/** Of channels by their names, or by patterns. */
export type SubscriptionKind = "subscribe" | "psubscribe";

/** Below the idle timeouts of common proxies. A failed keepalive also reveals a connection that is dead. */
const KEEPALIVE_MS = 15_000;

/** One channel or pattern. `confirmed` resolves when Redis has confirmed the subscription. */
interface Topic {
  viewers: Set<ServerResponse>;
  confirmed: Promise<unknown>;
}

/** The streams of this process and the channels and patterns that they follow. */
export class Subscriptions {
  readonly #redis: Redis | Cluster;
  readonly #topics: Record<SubscriptionKind, Map<string, Topic>> = {
    subscribe: new Map(),
    psubscribe: new Map(),
  };
  readonly #open = new Set<ServerResponse>();
  readonly #unread = new UnreadBytes();
  readonly #keepalive = setInterval(
    () => this.#open.forEach((viewer) => this.#unread.write(viewer, ": ping\n\n")),
    KEEPALIVE_MS,
  );

  /** @param redis a connection of its own: Redis accepts no other commands on a subscribed one */
  constructor(redis: Redis | Cluster) {
    this.#redis = redis;
    redis.on("messageBuffer", (channel: Buffer, message: Buffer) => {
      this.#deliver("subscribe", channel.toString(), frame("message", channel, message));
    });
    redis.on("pmessageBuffer", (pattern: string, channel: Buffer, message: Buffer) => {
      this.#deliver("psubscribe", pattern, frame("pmessage", pattern, channel, message));
    });
  }

  /**
   * Streams the messages of the channels or patterns `names` to `viewer`. The `subscribe` line of a name is sent after
   * Redis has confirmed it, so every message that is published after that line arrives.
   *
   * @throws RestError before the first byte: 400 without a name, 503 when Redis is unreachable
   */
  async open(
    kind: SubscriptionKind,
    names: string[],
    viewer: ServerResponse,
    headers: Record<string, string>,
  ): Promise<void> {
    if (names.length === 0) throw new RestError(400, `ERR wrong number of arguments for '${kind}' command`);
    viewer.once("close", () => this.#leave(kind, names, viewer));
    try {
      await Promise.all(names.map(async (name) => this.#join(kind, name, viewer)));
    } catch (error) {
      this.#leave(kind, names, viewer);
      throw toRestError(error);
    }
    if (viewer.destroyed) return;
    viewer.writeHead(200, {
      ...headers,
      "content-type": "text/event-stream; charset=utf-8",
      // A proxy that compresses or buffers holds messages back.
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    if (viewer.req.method === "HEAD") {
      viewer.end();
      return;
    }
    this.#open.add(viewer);
    names.forEach((name, i) => this.#unread.write(viewer, frame(kind, name, String(i + 1))));
  }

  /** Ends every stream. The caller closes the connection. */
  close(): void {
    clearInterval(this.#keepalive);
    for (const viewer of this.#open) viewer.end();
  }

  #join(kind: SubscriptionKind, name: string, viewer: ServerResponse): Promise<unknown> {
    let topic = this.#topics[kind].get(name);
    if (!topic) {
      topic = { viewers: new Set(), confirmed: this.#redis[kind](name) };
      this.#topics[kind].set(name, topic);
    }
    topic.viewers.add(viewer);
    return topic.confirmed;
  }

  #leave(kind: SubscriptionKind, names: string[], viewer: ServerResponse): void {
    this.#open.delete(viewer);
    this.#unread.forget(viewer);
    for (const name of names) {
      const topic = this.#topics[kind].get(name);
      if (!topic?.viewers.delete(viewer) || topic.viewers.size > 0) continue;
      this.#topics[kind].delete(name);
      this.#unsubscribe(kind, name);
    }
  }

  /** The caller does not wait: a later SUBSCRIBE goes over the same connection, so Redis gets both in order. */
  #unsubscribe(kind: SubscriptionKind, name: string): void {
    const done = kind === "subscribe" ? this.#redis.unsubscribe(name) : this.#redis.punsubscribe(name);
    // Redis is unreachable. ioredis subscribes again when it reconnects, and #deliver unsubscribes at the next message.
    done.catch(() => undefined);
  }

  #deliver(kind: SubscriptionKind, name: string, text: string): void {
    const topic = this.#topics[kind].get(name);
    if (!topic) return this.#unsubscribe(kind, name);
    for (const viewer of topic.viewers) if (this.#open.has(viewer)) this.#unread.write(viewer, text);
  }
}

/** A line break would end the event, so each line of a message is a `data:` line of the same event. */
function frame(...parts: (string | Buffer)[]): string {
  return `data: ${parts.join(",").replaceAll(/\r\n|\r|\n/g, "\ndata: ")}\n\n`;
}
