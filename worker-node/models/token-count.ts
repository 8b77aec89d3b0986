import { TokenCount } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";

/** A count as it is stored, from whatever a provider writes for one. */
export function tokenCount(report: Json | undefined): number {
  return TokenCount.parse(report);
}

/** Whether a provider writes a count at all. Null, words and lists say nothing; 0 and less do. */
export function isCount(report: Json | undefined): boolean {
  if (typeof report === "string") return report.trim() !== "" && Number.isFinite(Number(report));
  return typeof report === "number";
}

/** Four bytes a token. The usual estimate, four characters a token, gives a Chinese text a quarter of its tokens. */
export function estimatedTokens(bytes: number): number {
  return Math.ceil(bytes / 4);
}
