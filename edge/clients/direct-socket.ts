import { Socket } from "node:net";
import { connect } from "cloudflare:sockets";
import { AbstractConnector, Redis } from "ioredis";
import type { RedisOptions } from "ioredis";
import { z } from "zod";

/** What the driver reads out of a URL. */
const Target = z.object({ host: z.string(), port: z.coerce.number(), tls: z.unknown().optional() });

const CONNECT_MS = 1_000;

/** Opens Redis over a socket of the runtime, for an object that outlives a request. With `lazyConnect` it connects at `connect()`. */
export function openDirectRedis(url: string, settings: Omit<RedisOptions, "replyMapping">): Redis {
  return new Redis(url, { ...settings, Connector: DirectConnector });
}

class DirectConnector extends AbstractConnector {
  readonly #options: unknown;

  constructor(options: unknown) {
    super(0);
    this.#options = options;
  }

  override async connect(): Promise<Socket> {
    const { host: hostname, port, tls } = Target.parse(this.#options);
    this.connecting = true;
    const raw = connect({ hostname, port }, { secureTransport: tls ? "on" : "off", allowHalfOpen: false });
    raw.closed.catch(() => {}); // the reader sees the same error
    const { promise: tooLong, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error("Redis took too long to connect")), CONNECT_MS);
    try {
      await Promise.race([raw.opened, tooLong]);
      if (!this.connecting) throw new Error("the connection was closed before it was open");
    } catch (error) {
      raw.close().catch(() => {});
      throw error;
    } finally {
      clearTimeout(timer);
    }
    this.stream = new DirectSocket(raw);
    return this.stream;
  }
}

type RawSocket = ReturnType<typeof connect>;

/**
 * A socket as the driver knows it, without the streams between: what arrives is emitted at once, and what is written goes to the
 * runtime. With the runtime's own `node:net`, its streams and copies took a sixth of the JavaScript's time of a POST that comes alone.
 */
class DirectSocket extends Socket {
  readonly #raw: RawSocket;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #isClosed = false;

  constructor(raw: RawSocket) {
    super();
    this.#raw = raw;
    this.#writer = raw.writable.getWriter();
    void this.#read(raw.readable.getReader());
  }

  override write(chunk: Uint8Array | string): boolean {
    const bytes = typeof chunk === "string" ? Buffer.from(chunk) : chunk;
    this.#writer.write(bytes).catch((error: unknown) => this.#close(error));
    return true;
  }

  override end(): this {
    return this.destroy();
  }

  override destroy(error?: Error): this {
    this.#close(error);
    return this;
  }

  // Nothing waits in this socket. Connecting has a limit of its own, and so has each use of the connection.
  override resume(): this {
    return this;
  }
  override setNoDelay(): this {
    return this;
  }
  override setKeepAlive(): this {
    return this;
  }
  override setTimeout(): this {
    return this;
  }

  async #read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    try {
      for (let read = await reader.read(); !read.done; read = await reader.read()) {
        const { buffer, byteOffset, byteLength } = read.value;
        this.emit("data", Buffer.from(buffer, byteOffset, byteLength));
      }
      this.#close();
    } catch (error) {
      this.#close(error);
    }
  }

  #close(error?: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#raw.close().catch(() => {}); // it may have failed already
    if (error !== undefined) this.emit("error", error);
    this.emit("close");
  }
}
