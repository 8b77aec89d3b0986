import { log, messageOf } from "../log.ts";
import { isDatabaseUnreachable } from "./unreachable.ts";

/** A part of a longer work. It returns whether more of it may be left. */
type Part = readonly [name: string, work: () => Promise<boolean>];

/**
 * Does all parts in turn. A part that fails does not stop the others: it may fail each time, for a row that its statement cannot handle.
 * @returns whether more may be left of at least one part
 * @throws the first error, after the last part; at once when the database cannot be reached
 */
export async function partsInTurn(parts: readonly Part[]): Promise<boolean> {
  let hasMore = false;
  const errors: unknown[] = [];
  for (const [part, work] of parts) {
    try {
      if (await work()) hasMore = true;
    } catch (error) {
      if (isDatabaseUnreachable(error)) throw error;
      log.warn("retention.part_failed", { part, message: messageOf(error) });
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
  return hasMore;
}
