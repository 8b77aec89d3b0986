/** Calls to models and tools: at least once, each time with the key of that call. */
import type { Evidence } from "../evidence.ts";
import { checkpointOf } from "./journal.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/**
 * docs/protocol.md 12. A definite response (`answered`, `refused`) ends that try of the call. Only a claim that finds no
 * committed result repeats the call. So a key has at most one definite response per claim, and a claim after a park does
 * not count: a park keeps the responses before it. In a run with branches a park keeps those of one branch, so each claim counts.
 */
export function callsAreRepeatedOnlyAfterACrash({ calls, runs, journal }: Evidence): Violation[] {
  const byId = new Map(runs.map((run) => [run.run_id, run]));
  const parks = Map.groupBy(
    journal.filter(({ kind }) => kind === "park"),
    ({ run_id }) => run_id,
  );
  const branched = new Set(
    journal.filter(({ step_path }) => step_path?.includes("[")).map(({ run_id }) => run_id),
  );
  return [...calls].flatMap(([key, { answered, refused }]) => {
    const run = byId.get(key.split(":")[0] ?? "");
    const promise = "calls outside carry stable keys";
    if (!run) return [broken(promise, `"${key}" belongs to no run`)];
    const inBranches = branched.has(run.run_id);
    const resumed = inBranches
      ? []
      : (parks.get(run.run_id) ?? []).filter(({ attempt }) => attempt < run.attempt);
    const claims = run.attempt - resumed.length;
    if (answered + refused <= claims) return [];
    return [
      broken(
        promise,
        `${key} was answered ${answered} times and refused ${refused} times in ${claims} claims`,
        run.run_id,
      ),
    ];
  });
}

/** docs/architecture.md 2.6: no result without the response that it stands for. */
export function everyResultHasItsResponse({ calls, journal }: Evidence): Violation[] {
  return journal.flatMap((entry) => {
    const effects = checkpointOf(entry)?.effects ?? [];
    return effects
      .filter((key) => (calls.get(key)?.answered ?? 0) === 0)
      .map((key) =>
        broken(
          "no silent success",
          `the result at ${entry.seq} stands for ${key}, which had no response`,
          entry.run_id,
        ),
      );
  });
}
