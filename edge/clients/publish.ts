import { xaddArgs } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { eventShardOf, keys } from "../../shared/keys.ts";
import type { Config } from "../env.ts";

const TIMEOUT_MS = 1_500;

/**
 * Shows committed entries to viewers, and tells workers (`owners`) to look whether one of their runs was cancelled.
 *
 * One request for all, after the commit. Whoever is not reached finds out by himself: a viewer by its relay's check,
 * a worker by its beat.
 * @throws Error when Redis did not take it
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
    ...Array.from(owners, (owner) => ["PUBLISH", keys.control(owner), "cancel"]),
  ];
  if (commands.length === 0) return;
  const answer = await fetch(new URL("pipeline", withSlash(config.UPSTASH_REDIS_REST_URL)), {
    method: "POST",
    headers: {
      authorization: `Bearer ${config.UPSTASH_REDIS_REST_TOKEN}`,
      "content-type": "application/json",
    },
    body: JSON.stringify(commands),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  // Read to its end, so that the connection can be used again.
  await answer.text();
  if (!answer.ok) throw new Error(`Redis answered HTTP ${answer.status}`);
}

function withSlash(url: string): string {
  return url.endsWith("/") ? url : `${url}/`;
}
