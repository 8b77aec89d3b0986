import type { RedisOptions } from "ioredis";

/** A connection that fails fast, and that its owner opens anew. */
const FAILS_FAST = {
  // In RESP3 some replies are flattened.
  protocol: 2,
  lazyConnect: true,
  disableClientInfo: true,
  enableReadyCheck: false,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  retryStrategy: () => null,
} satisfies RedisOptions;

/** The settings of a connection for the queue's commands, whose time `keptCommands` limits itself. */
export const KEPT_REDIS = FAILS_FAST;

/** The settings of the connection of a live feed. Its commands block, so `LiveFeed` limits their time itself. */
export const FOLLOWED_REDIS = { ...FAILS_FAST, connectTimeout: 2_000 } satisfies RedisOptions;
