import { AsyncLocalStorage } from "node:async_hooks";

export type Fetch = typeof globalThis.fetch;

const calls = new AsyncLocalStorage<Fetch>();

/** Makes a call of the SDK whose requests go through this `fetch`. */
export function withFetch<Result>(fetch: Fetch, call: () => Result): Result {
  return calls.run(fetch, call);
}

/**
 * The `fetch` of every model of the SDK: it is that of the call under way. So one model of the SDK serves many calls at once, and is made
 * once; some take a millisecond to make.
 */
export const fetchOfCall: Fetch = async (address, init) => {
  const fetch = calls.getStore();
  if (fetch === undefined) throw new Error("a model of the SDK is used outside of a call");
  return fetch(address, init);
};

/** Imports the SDK, and disables its warnings on the console: the log has one line format. */
export async function loadSdk(): Promise<typeof import("ai")> {
  Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });
  return import("ai");
}
