import { log, messageOf } from "../../shared/log.ts";
import type { FileStore } from "./file-store.ts";

/** The most deletions that are under way at the same time. */
const AT_ONCE = 16;

/**
 * Deletes objects. When the store refuses to delete an object, for example because of an object lock, the others are deleted all the same.
 * @returns the keys that are deleted
 * @throws the store's error when it deleted none of them
 */
export async function deleteObjects(files: FileStore, keys: readonly string[]): Promise<Set<string>> {
  const deleted = new Set<string>();
  const errors: unknown[] = [];
  for (let start = 0; start < keys.length; start += AT_ONCE) {
    await Promise.all(
      keys.slice(start, start + AT_ONCE).map((key) =>
        files.delete(key).then(
          () => deleted.add(key),
          (error: unknown) => errors.push(error),
        ),
      ),
    );
    if (deleted.size === 0 && errors.length > 0) throw errors[0];
  }
  if (errors.length > 0)
    log.warn("files.delete_failed", { objects: errors.length, message: messageOf(errors[0]) });
  return deleted;
}
