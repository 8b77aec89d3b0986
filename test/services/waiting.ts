/**
 * The only module of the tests with timers of its own; lint refuses them in test files. A test does not sleep: it waits
 * for a condition (`until`, `expect.poll`, a promise), and shows that something does not happen by waiting for an event
 * that comes provably later.
 */
import { setImmediate, setTimeout as timer } from "node:timers/promises";
import type { Sql } from "../../shared/store/sql.ts";

/** The time between two looks at a condition: the first, and the longest. */
const LOOK_MS = { first: 10, longest: 100 };

/**
 * Waits until `holds` returns true. It looks less often the longer it waits: a look is often a request with a query, and at an
 * even 10 ms the looks of tests that wait at the same time take a processor from what they wait for.
 * @param withinMs not a bound of the product: only a condition that never holds takes so long, on any machine
 * @param what the condition as it stands in the error; `detail` is called at the end, for what the error shows besides
 */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = 120_000,
  detail: () => string = () => "",
): Promise<void> {
  const startedMs = performance.now();
  while (!(await holds())) {
    const waitedMs = performance.now() - startedMs;
    if (waitedMs > withinMs) throw new Error(`not within ${withinMs} ms: ${what}${detail()}`);
    await timer(Math.min(Math.max(LOOK_MS.first, waitedMs / 10), LOOK_MS.longest));
  }
}

/** Waits until so many statements in the database of `sql` wait for a lock: they do not go on before the transaction ends that has the lock. */
export async function untilLockWait(sql: Sql, statements = 1): Promise<void> {
  await until(`${statements} statements wait for a lock`, async () => {
    const rows = await sql`
      select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`;
    return rows.length >= statements;
  });
}

/** The result of `promise`, or an error with the text of `what` after `withinMs`. */
export async function within<Result>(
  withinMs: number,
  promise: Promise<Result>,
  what: () => string,
): Promise<Result> {
  const settled = new AbortController();
  const late = timer(withinMs, undefined, { signal: settled.signal }).then(
    () => Promise.reject(new Error(`not within ${withinMs} ms: ${what()}`)),
    () => promise,
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    settled.abort();
  }
}

/**
 * Plays a peer (a model, a tool, a store, a receiver) that takes `ms` to answer. No assertion may need it to be quick.
 * @returns `answer`; rejects at `signal`
 */
export function slowPeer(ms: number): Promise<void>;
export function slowPeer<Answer>(ms: number, answer: Answer, signal?: AbortSignal): Promise<Answer>;
export function slowPeer(ms: number, answer?: unknown, signal?: AbortSignal): Promise<unknown> {
  return timer(ms, answer, { ...(signal && { signal }) });
}

/** Plays a peer that never answers. Rejects at `signal`. */
export function silentPeer(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}

/** Spaces the requests of a client that makes load. What the test expects is the same at any pace. */
export const pace = (ms: number): Promise<void> => timer(ms);

/** One turn of the event loop: all that was ready to continue has continued. */
export const turn = (): Promise<void> => setImmediate();
