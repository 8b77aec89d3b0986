import { log, messageOf } from "../../../shared/log.ts";
import { markKeysUsed } from "../../../shared/store/tenants/api-keys.ts";
import { elapsedMs } from "../../../shared/tasks/elapsed-ms.ts";
import type { Services } from "../../services.ts";

/** One isolate reports a key at most once in this time; Postgres keeps one report a minute from all isolates. */
const PERIOD_MS = 60_000;
/** The most keys of one statement, and the most that an isolate remembers. */
const BATCH = 500;
const MAX_KEYS = 10_000;
/** The platform may end the request that reports keys: after this time another request reports them. */
const REPORT_MS = 10_000;

const reportedMs = new Map<string, number>();
const pending = new Set<string>();
let reportingSinceMs = -Infinity;

/**
 * Records that a key was used, after the response. Keys that are used while a report is on its way gather for the next one,
 * so an isolate has one statement in flight, however many requests and keys it serves. A report that is lost costs
 * nothing but a later `last_used_at`.
 */
export function reportKeyUse(services: Services, keyId: string): void {
  const nowMs = elapsedMs();
  if (nowMs - (reportedMs.get(keyId) ?? -Infinity) < PERIOD_MS) return;
  reportedMs.delete(keyId);
  const oldest = reportedMs.keys().next();
  if (reportedMs.size >= MAX_KEYS && !oldest.done) reportedMs.delete(oldest.value);
  reportedMs.set(keyId, nowMs);
  pending.add(keyId);
  if (nowMs - reportingSinceMs < REPORT_MS) return;
  reportingSinceMs = nowMs;
  services.waitUntil(report(services));
}

async function report(services: Services): Promise<void> {
  try {
    while (pending.size > 0) {
      const keys = [...pending].slice(0, BATCH);
      for (const key of keys) pending.delete(key);
      await markKeysUsed(services.sql, keys);
    }
  } catch (error) {
    log.info("keys.use_not_recorded", { message: messageOf(error) });
  } finally {
    reportingSinceMs = -Infinity;
  }
}
