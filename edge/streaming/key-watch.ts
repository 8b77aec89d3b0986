import { log, messageOf } from "../../shared/log.ts";
import { KEY_CHECK_MS } from "../../shared/timing.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import type { Grant } from "./viewer-join.ts";

type WatchedKey = { viewers: Map<() => void, number | null>; checkedAtMs: number };

/**
 * Ends the streams whose key is revoked or has expired, and those whose stream token has expired.
 *
 * A new key is checked at the next tick, because the edge may have authorised it from its cache. After that it is checked every
 * `KEY_CHECK_MS`; one query checks all keys that are due. While Postgres is unreachable no stream ends, and the check is repeated.
 */
export class KeyWatch {
  readonly #readValid: (keyIds: string[]) => Promise<Set<string>>;
  readonly #keys = new Map<string, WatchedKey>();
  #isChecking = false;

  /** @param readValid returns those of the keys that are neither revoked nor expired */
  constructor(readValid: (keyIds: string[]) => Promise<Set<string>>) {
    this.#readValid = readValid;
  }

  /** Calls `end` when the grant is no longer valid. @returns a function that removes the viewer from the watch */
  add({ keyId, untilMs }: Grant, end: () => void): () => void {
    const key = this.#keys.get(keyId) ?? { viewers: new Map(), checkedAtMs: -Infinity };
    this.#keys.set(keyId, key);
    key.viewers.set(end, untilMs);
    return () => {
      key.viewers.delete(end);
      if (key.viewers.size === 0 && this.#keys.get(keyId) === key) this.#keys.delete(keyId);
    };
  }

  /** Ends streams with an expired token, and checks the keys that are due. */
  async tick(): Promise<void> {
    const nowMs = Date.now();
    for (const key of this.#keys.values()) endViewers(key, (untilMs) => untilMs !== null && untilMs <= nowMs);
    if (!this.#isChecking) await this.#checkDue();
  }

  async #checkDue(): Promise<void> {
    const startedMs = elapsedMs();
    const due = [...this.#keys].filter(([, key]) => startedMs - key.checkedAtMs >= KEY_CHECK_MS);
    if (due.length === 0) return;
    this.#isChecking = true;
    try {
      const valid = await this.#readValid(due.map(([keyId]) => keyId));
      for (const [keyId, key] of due) {
        key.checkedAtMs = startedMs;
        if (!valid.has(keyId)) endViewers(key, () => true);
      }
    } catch (error) {
      // The connections are closed with the last viewer, and the check that is under way then fails.
      if (due.some(([, { viewers }]) => viewers.size > 0))
        log.warn("relay.key_check_failed", { message: messageOf(error) });
    } finally {
      this.#isChecking = false;
    }
  }
}

/** Ends the viewers for whose expiry `isOver` is true. Each is removed from the watch first, so that none is ended twice. */
function endViewers({ viewers }: WatchedKey, isOver: (untilMs: number | null) => boolean): void {
  for (const [end, untilMs] of viewers) {
    if (!isOver(untilMs)) continue;
    viewers.delete(end);
    end();
  }
}
