/** What the samples of watch.ts show: no limit was exceeded, takeovers were fast, and no run stalled. */
import { LEASE_MS } from "../../../shared/timing.ts";
import type { Evidence } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/** docs/architecture.md 2.5, docs/protocol.md 14.6: no sample has more running or queued runs than the limit. */
export function limitsHold({ limitBreaches }: Evidence): Violation[] {
  const worst = Map.groupBy(limitBreaches, ({ tenant, what }) => `${tenant} ${what}`);
  return Array.from(worst.values(), (group) => {
    const most = group.toSorted((a, b) => b.count - a.count)[0];
    return broken("limits are never passed", `${group.length} samples, worst: ${JSON.stringify(most)}`);
  });
}

/** docs/architecture.md 2.3, plus what sampling and a loaded machine may add. */
const TAKEOVER_MS = LEASE_MS + 5_000;
/** docs/architecture.md 2.2: repaired within 60 s, plus the longest step of the load. */
const STALL_MS = 75_000;

export function runsAreTakenOver({ takeovers }: Evidence): Violation[] {
  return takeovers
    .filter(({ calm, ms }) => calm && ms > TAKEOVER_MS)
    .map(({ run, ms }) => broken("taken over within 6 s", `it took ${Math.round(ms)} ms`, run));
}

export function nothingStalls({ stalls }: Evidence): Violation[] {
  return stalls
    .filter(({ ms }) => ms > STALL_MS)
    .map(({ run, ms }) => broken("never stuck", `it stalled for ${Math.round(ms)} ms without a fault`, run));
}
