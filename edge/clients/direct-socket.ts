import type { Socket } from "node:net";
import { connect } from "cloudflare:sockets";
import { AbstractConnector, Redis } from "ioredis";
import type { RedisOptions } from "ioredis";
import { z } from "zod";
import { isRefusedSelect } from "../../shared/queue/refused-select.ts";
import { RuntimeSocket } from "./runtime-socket.ts";

/** What the driver reads out of a URL. */
const Target = z.object({ host: z.string(), port: z.coerce.number(), tls: z.unknown().optional() });

const CONNECT_MS = 1_000;

/** Opens Redis over a socket of the runtime, for an object that outlives a request. With `lazyConnect` it connects at `connect()`. */
export function openDirectRedis(url: string, settings: Omit<RedisOptions, "replyMapping">): Redis {
  const redis = new Redis(url, { ...settings, Connector: DirectConnector });
  return redis.on("error", (error: unknown) => {
    if (isRefusedSelect(error)) redis.disconnect();
  });
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
    // Not cleared: in an object a cleared timer keeps memory (`findings/workerd-cleared-timer-stays.sh`).
    setTimeout(() => reject(new Error("Redis took too long to connect")), CONNECT_MS);
    try {
      await Promise.race([raw.opened, tooLong]);
      if (!this.connecting) throw new Error("the connection was closed before it was open");
    } catch (error) {
      raw.close().catch(() => {});
      throw error;
    }
    this.stream = new RuntimeSocket(raw, hostname, port);
    return this.stream;
  }
}
