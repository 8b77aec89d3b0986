/** At rest the queue is empty; before that no limit was exceeded and no run stalled. */
import type { Evidence } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/** Structures of the queue that are empty without runs. */
const EMPTY = ["jobs", "leases", "active", "queued_or_reserved", "ready", "due", "timer", "reserved"];

/** docs/protocol.md 14.1, 14.5 and 3. */
export function redisIsEmpty({ redis }: Evidence): Violation[] {
  const { sizes, tenants, foreign } = redis;
  const left = Object.entries(sizes).filter(([name]) => EMPTY.includes(name) || /^(order|ring):/.test(name));
  const found = left
    .filter(([, size]) => size > 0)
    .map(([name, size]) => broken("nothing is left in Redis", `${name} holds ${size}`));
  if ((sizes.limits ?? 0) !== tenants)
    found.push(broken("sizes prove completeness", `${sizes.limits} limits, the index counts ${tenants}`));
  return [
    ...found,
    ...foreign.map((key) =>
      broken("nothing is left in Redis", `no structure of the queue has the key ${key}`),
    ),
  ];
}

/** docs/architecture.md 2.5, docs/protocol.md 14.6. */
export function limitsHold({ limitBreaches: overruns }: Evidence): Violation[] {
  const worst = Map.groupBy(overruns, ({ tenant, what }) => `${tenant} ${what}`);
  return Array.from(worst.values(), (group) => {
    const most = group.toSorted((a, b) => b.count - a.count)[0];
    return broken("limits are never passed", `${group.length} samples, worst: ${JSON.stringify(most)}`);
  });
}

/** docs/architecture.md 2.3, plus what sampling and a loaded machine may add. */
const TAKEOVER_MS = 25_000;
/** docs/architecture.md 2.2: repaired within 60 s, plus the longest step of the load. */
const STANDING_MS = 75_000;

export function runsAreTakenOver({ takeovers }: Evidence): Violation[] {
  return takeovers
    .filter(({ calm, ms }) => calm && ms > TAKEOVER_MS)
    .map(({ run, ms }) => broken("taken over within 20 s", `it took ${Math.round(ms)} ms`, run));
}

export function nothingStalls({ stalls: standing }: Evidence): Violation[] {
  return standing
    .filter(({ ms }) => ms > STANDING_MS)
    .map(({ run, ms }) => broken("never stuck", `it stalled for ${Math.round(ms)} ms without a fault`, run));
}
