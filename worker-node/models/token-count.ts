import { TokenCount } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";

/** A count as it is stored, from whatever a provider writes for one. */
export function tokenCount(report: Json | undefined): number {
  return TokenCount.parse(report);
}
