import { stepKey, stepsOf } from "./peer.ts";
import type { Executions, Job, Kind } from "./peer.ts";

/** `lost`: acknowledged jobs of which a step is missing. `repeated`: steps that were executed more than once, and jobs acknowledged twice. */
export type Verdict = { acknowledged: number; lost: string[]; repeated: string[] };

/**
 * Compares what was acknowledged with what was executed: each step of an acknowledged job exactly once, in the account of each witness.
 * @param witnesses the accounts for jobs of a kind
 */
export function judge(
  acknowledged: readonly Job[],
  witnesses: Readonly<Record<Kind, readonly Executions[]>>,
): Verdict {
  const lost = new Set<string>();
  const repeated = new Set<string>();
  const seen = new Set<string>();
  for (const job of acknowledged) {
    if (seen.has(job.id)) repeated.add(job.id);
    seen.add(job.id);
    for (let step = 1; step <= stepsOf(job); step++) {
      const key = stepKey(job.id, step);
      const counts = witnesses[job.kind].map((executions) => executions.get(key) ?? 0);
      if (counts.length === 0 || counts.some((count) => count === 0)) lost.add(job.id);
      if (counts.some((count) => count > 1)) repeated.add(key);
    }
  }
  return { acknowledged: acknowledged.length, lost: Array.from(lost), repeated: Array.from(repeated) };
}

/** The verdict in one line, with the first three ids of each kind. */
export function verdictText({ acknowledged, lost, repeated }: Verdict): string {
  const parts = [
    ...(lost.length > 0 ? [`${lost.length} lost (${lost.slice(0, 3).join(", ")})`] : []),
    ...(repeated.length > 0 ? [`${repeated.length} repeated (${repeated.slice(0, 3).join(", ")})`] : []),
  ];
  return `${acknowledged} jobs acknowledged, ${parts.length > 0 ? parts.join(", ") : "none lost, none repeated"}`;
}
