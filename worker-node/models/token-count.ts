import { TokenCount } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";

/** A count as it is stored, from whatever a provider writes for one. */
export function tokenCount(report: Json | undefined): number {
  return TokenCount.parse(report);
}

/** The usual estimate: four characters a token. */
export function estimatedTokens(chars: number): number {
  return Math.ceil(chars / 4);
}
