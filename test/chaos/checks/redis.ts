/** At rest the queue in Redis is empty, and no key is left that does not belong to it. */
import type { Evidence } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/** Structures of the queue that are empty without runs. */
const EMPTY = ["jobs", "leases", "active", "queued_or_reserved", "ready", "due", "timer", "reserved"];

/** docs/protocol.md 14.1, 14.5 and 3: the structures are empty, and the sizes prove that no limits were lost. */
export function redisIsEmpty({ redis }: Pick<Evidence, "redis">): Violation[] {
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
