import { createApp } from "./app.ts";
import type { Env } from "./env.ts";
import { doPeriodicWork } from "./operations/periodic-work.ts";
import { openServices } from "./services.ts";

export { DatabaseShard } from "./clients/database-shard.ts";
export { IntakeShard } from "./intake/shard.ts";
export { FeedShard } from "./streaming/feed-shard.ts";
export { RelayShard } from "./streaming/relay-shard.ts";

const app = createApp(openServices);

export default {
  fetch: app.fetch,
  scheduled: (_event, env) => doPeriodicWork(env),
} satisfies ExportedHandler<Env>;
