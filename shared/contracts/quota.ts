import type { Quota } from "../queue/verdict.ts";

/**
 * One of a tenant's limits and how much of it is left, as responses state it. `windowSeconds`: the time in which the limit counts; null:
 * it limits how many there are at once. `resetSeconds`: until there is more; null: unknown.
 */
export type QuotaState = {
  name: "requests" | "runs" | "queued" | "streams" | "service";
  limit: number;
  windowSeconds: number | null;
  left: number;
  resetSeconds: number | null;
};

/** The state of each limit that the queue has checked. */
export function quotaStates({ requests, queued, runs }: Quota): QuotaState[] {
  const states = [requestsState(requests.perSecond, requests.left), queuedState(queued.limit, queued.left)];
  return runs === null ? states : [...states, runsState(runs.perMinute, runs.left, runs.resetMs)];
}

/** What is left of each limit after several submits: the lowest count that any of them saw. */
export function leastQuota(states: readonly QuotaState[]): QuotaState[] {
  const least = new Map<QuotaState["name"], QuotaState>();
  for (const state of states) {
    const { left } = least.get(state.name) ?? { left: Infinity };
    if (state.left < left) least.set(state.name, state);
  }
  return [...least.values()];
}

/** The limit on requests in a second. `retryMs`: until the bucket has more tokens; by default a second, after which it is full again. */
export function requestsState(limit: number, left: number, retryMs = 1_000): QuotaState {
  return { name: "requests", limit, windowSeconds: 1, left, resetSeconds: wholeSeconds(retryMs) };
}

/** The limit on runs that start in a minute. `resetMs`: until there is room for one more. */
export function runsState(limit: number, left: number, resetMs: number): QuotaState {
  return { name: "runs", limit, windowSeconds: 60, left, resetSeconds: wholeSeconds(resetMs) };
}

/** The limit on queued runs. */
export function queuedState(limit: number, left: number, resetSeconds: number | null = null): QuotaState {
  return { name: "queued", limit, windowSeconds: null, left, resetSeconds };
}

function wholeSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1_000));
}
