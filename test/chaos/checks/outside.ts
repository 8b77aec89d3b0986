/** What models and tools were asked: at least once, each time under the key of that call. */
import type { Evidence } from "../evidence.ts";
import { checkpointOf } from "./journal.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/**
 * docs/protocol.md 12. A definite answer (`answered`, `refused`) to a key ends that try of the call; only a claim that found
 * nothing of it committed may ask the same again, so there are at most as many as claims, and fewer by the parks, which
 * keep what they had heard.
 */
export function keysAreAskedAgainOnlyAfterACrash({ calls, runs, journal }: Evidence): Violation[] {
  const byId = new Map(runs.map((run) => [run.run_id, run]));
  const parks = Map.groupBy(
    journal.filter(({ kind }) => kind === "park"),
    ({ run_id }) => run_id,
  );
  return [...calls].flatMap(([key, { answered, refused }]) => {
    const run = byId.get(key.split(":")[0] ?? "");
    const promise = "the outside is asked under stable keys";
    if (!run) return [broken(promise, `"${key}" belongs to no run`)];
    const resumed = (parks.get(run.run_id) ?? []).filter(({ attempt }) => attempt < run.attempt);
    const claims = run.attempt - resumed.length;
    if (answered + refused <= claims) return [];
    return [
      broken(
        promise,
        `${key} had ${answered} answers and ${refused} refusals in ${claims} claims`,
        run.run_id,
      ),
    ];
  });
}

/** docs/architecture.md 2.6: no result without the answer that it tells of. */
export function resultsWereAnswered({ calls, journal }: Evidence): Violation[] {
  return journal.flatMap((entry) => {
    const effects = checkpointOf(entry)?.effects ?? [];
    return effects
      .filter((key) => (calls.get(key)?.answered ?? 0) === 0)
      .map((key) =>
        broken(
          "no silent success",
          `the result at ${entry.seq} tells of ${key}, which nobody answered`,
          entry.run_id,
        ),
      );
  });
}
