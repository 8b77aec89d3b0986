import { xaddArgs } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { eventShardOf, keys } from "../../shared/keys.ts";
import { REDIS_REQUEST_MS } from "../../shared/timing.ts";
import type { Config } from "../env.ts";

/**
 * Publishes committed entries to the live streams, and a hint to the workers in `owners`: the reply of their next beat has
 * news for them (a cancel, a drain), so they beat at once.
 *
 * It is one request for all, and is made after the commit. A lost publish costs a delay and nothing else: the relay's check finds
 * the entries for its viewers, and a worker's next beat finds the cancel.
 * @throws Error when Redis did not accept the commands
 */
export async function publish(
  config: Config,
  entries: readonly LiveEntry[],
  owners: Iterable<string> = [],
): Promise<void> {
  const commands = [
    ...entries.map((entry) => [
      "XADD",
      ...xaddArgs(keys.live(eventShardOf(entry.run, config.EVENT_SHARDS)), entry),
    ]),
    ...Array.from(owners, (owner) => ["PUBLISH", keys.control(owner), "hint"]),
  ];
  if (commands.length === 0) return;
  const response = await fetch(new URL("pipeline", withSlash(config.UPSTASH_REDIS_REST_URL)), {
    method: "POST",
    headers: {
      authorization: `Bearer ${config.UPSTASH_REDIS_REST_TOKEN}`,
      "content-type": "application/json",
    },
    body: JSON.stringify(commands),
    signal: AbortSignal.timeout(REDIS_REQUEST_MS),
  });
  // The body is read to its end, so that the connection can be reused.
  await response.text();
  if (!response.ok) throw new Error(`Redis responded with HTTP ${response.status}`);
}

function withSlash(url: string): string {
  return url.endsWith("/") ? url : `${url}/`;
}
