/**
 * SUBSCRIBE and PSUBSCRIBE as server-sent events.
 *
 * However many viewers there are, Redis sees one connection and each channel once. What is published while that
 * connection is down is lost, as it is for any subscriber of Redis; the streams stay open and go on.
 */
import type { ServerResponse } from "node:http";
import type { Cluster, Redis } from "ioredis";
import { RestError, toRestError } from "./rest-error.ts";

export type Kind = "subscribe" | "psubscribe";

/** A viewer that leaves this much unread is cut: it would otherwise grow in our memory. */
const unsentLimitBytes = 256 * 1024;
/** Under the idle timeouts of usual proxies; also how a viewer that is gone without a word is noticed. */
const keepaliveMs = 15_000;

/** One channel or pattern: who listens, and the word of Redis that it is subscribed. */
interface Topic {
  viewers: Set<ServerResponse>;
  confirmed: Promise<unknown>;
}

export class Subscriptions {
  readonly #redis: Redis | Cluster;
  readonly #topics: Record<Kind, Map<string, Topic>> = { subscribe: new Map(), psubscribe: new Map() };
  readonly #open = new Set<ServerResponse>();
  readonly #keepalive = setInterval(
    () => this.#open.forEach((viewer) => write(viewer, ": ping\n\n")),
    keepaliveMs,
  );

  /** @param redis a connection for this alone: one that subscribes can do nothing else */
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
   * Make `viewer` a stream of what comes in on `names`. Each name is told once Redis has confirmed it, so what is
   * published after its `subscribe` line arrives.
   *
   * @throws RestError before the first byte: 400 no name, 503 no Redis
   */
  async open(
    kind: Kind,
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
    viewer.writeHead(200, { ...headers, "content-type": "text/event-stream", "cache-control": "no-cache" });
    this.#open.add(viewer);
    names.forEach((name, i) => write(viewer, frame(kind, name, String(i + 1))));
  }

  /** End every stream. The connection is the caller's to close. */
  close(): void {
    clearInterval(this.#keepalive);
    for (const viewer of this.#open) viewer.end();
  }

  #join(kind: Kind, name: string, viewer: ServerResponse): Promise<unknown> {
    let topic = this.#topics[kind].get(name);
    if (!topic) {
      topic = { viewers: new Set(), confirmed: this.#redis[kind](name) };
      this.#topics[kind].set(name, topic);
    }
    topic.viewers.add(viewer);
    return topic.confirmed;
  }

  #leave(kind: Kind, names: string[], viewer: ServerResponse): void {
    this.#open.delete(viewer);
    for (const name of names) {
      const topic = this.#topics[kind].get(name);
      if (!topic?.viewers.delete(viewer) || topic.viewers.size > 0) continue;
      this.#topics[kind].delete(name);
      this.#unsubscribe(kind, name);
    }
  }

  /** Not waited for: the next viewer's SUBSCRIBE follows on the same connection, so the order is right. */
  #unsubscribe(kind: Kind, name: string): void {
    const done = kind === "subscribe" ? this.#redis.unsubscribe(name) : this.#redis.punsubscribe(name);
    // Redis is away, and ioredis will subscribe again when it is back: the next message repairs that (#deliver).
    done.catch(() => undefined);
  }

  #deliver(kind: Kind, name: string, text: string): void {
    const topic = this.#topics[kind].get(name);
    if (!topic) return this.#unsubscribe(kind, name);
    for (const viewer of topic.viewers) if (this.#open.has(viewer)) write(viewer, text);
  }
}

function write(viewer: ServerResponse, text: string): void {
  viewer.write(text);
  if (viewer.writableLength > unsentLimitBytes) viewer.destroy();
}

/** A line break inside a message would end it: SSE carries it as a further `data:` line of the same event. */
function frame(...parts: (string | Buffer)[]): string {
  return `data: ${parts.join(",").replaceAll(/\r\n|\r|\n/g, "\ndata: ")}\n\n`;
}
