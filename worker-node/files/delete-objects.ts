import { log, messageOf } from "../../shared/log.ts";
import { ObjectStoreError } from "../execution/object-store.ts";
import type { FileStore } from "./file-store.ts";

/** The most deletions that are under way at the same time. */
const AT_ONCE = 16;

/**
 * Deletes objects. When the store refuses to delete some, for example because of an object lock, it deletes all others, however many were
 * refused.
 * @returns the keys that are deleted
 * @throws the store's error when the store answers none of the deletions that are made at the same time: each later one would wait for its
 *   own timeout
 */
export async function deleteObjects(files: FileStore, keys: readonly string[]): Promise<Set<string>> {
  const deleted = new Set<string>();
  const errors: unknown[] = [];
  for (let start = 0; start < keys.length; start += AT_ONCE) {
    const group = keys.slice(start, start + AT_ONCE);
    const settled = await Promise.allSettled(
      group.map((key) => files.delete(key).then(() => deleted.add(key))),
    );
    const failures = settled.flatMap((one): unknown[] => (one.status === "rejected" ? [one.reason] : []));
    const unanswered = failures.filter((error) => !(error instanceof ObjectStoreError));
    if (unanswered.length === group.length) throw unanswered[0];
    errors.push(...failures);
  }
  if (errors.length > 0)
    log.warn("files.delete_failed", { objects: errors.length, message: messageOf(errors[0]) });
  return deleted;
}
