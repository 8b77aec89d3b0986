/**
 * The hostile tenants, one for each kind of harm. `slots`: how many of its runs may run at once. `answers`: the statuses that
 * its requests may get; any other, and a 500 above all, is a defect. `ends`: some of its runs must have ended with one of each list of
 * error codes, as proof that the harm was tried.
 */
import { TenantId } from "../../../shared/contracts/ids.ts";

type Kind = { slots: number; answers: readonly number[]; ends: readonly (readonly string[])[] };

/** A hostile client may be refused: its limit is reached, or its requests wait for each other too long. */
const REFUSED = [429, 503];

/** On a busy machine the time of its step ends before a program has used its processor time. */
const SPUN = [
  ["expression", "step_timeout"],
  ["transform", "step_timeout"],
];

export const kinds = {
  // Some of its bodies are valid after all.
  malformed: { slots: 2, answers: [202, 400, 413, 415, 422, ...REFUSED], ends: [] },
  maximal: { slots: 4, answers: [202, 413, ...REFUSED], ends: [] },
  rendering: { slots: 4, answers: [202, ...REFUSED], ends: [["template"]] },
  spinning: { slots: 6, answers: [202, ...REFUSED], ends: SPUN },
  tools: { slots: 6, answers: [202, ...REFUSED], ends: [["tool_timeout"], ["answer_too_large"]] },
  models: { slots: 6, answers: [202, ...REFUSED], ends: [] },
  webhooks: { slots: 4, answers: [202, ...REFUSED], ends: [] },
  pollers: { slots: 2, answers: [200, ...REFUSED], ends: [] },
  viewers: { slots: 2, answers: [200, ...REFUSED], ends: [] },
  dropped: { slots: 2, answers: [200, ...REFUSED], ends: [] },
  guessing: { slots: 2, answers: [401, 429], ends: [] },
  definitions: { slots: 2, answers: [200, 201, 422, ...REFUSED], ends: [] },
  state: { slots: 2, answers: [202, ...REFUSED], ends: [["state_too_large"]] },
  // Whether a journal reaches its 64 MiB in the time depends on the machine.
  journal: { slots: 2, answers: [202, ...REFUSED], ends: [] },
} as const satisfies Record<string, Kind>;

export type KindName = keyof typeof kinds;

export const kindNames = Object.keys(kinds).filter(isKind);

function isKind(name: string): name is KindName {
  return Object.hasOwn(kinds, name);
}

const QUEUED = 40;

/** The quiet tenant, with the limits that every tenant has by default. */
export const quiet = TenantId.parse("quiet");

export function tenantOf(kind: KindName): TenantId {
  return TenantId.parse(`hostile-${kind}`);
}

/** The body of the request that creates the tenant of a kind. */
export function limitsOf(kind: KindName) {
  return {
    tenant_id: tenantOf(kind),
    max_concurrent_runs: kinds[kind].slots,
    max_queued_runs: QUEUED,
  };
}
