/** A 202 means that the run ends, once; a key stands for one run; a failure is never silent. */
import { TERMINAL } from "../../../shared/contracts/run.ts";
import type { Evidence } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/** docs/architecture.md 2.1, docs/protocol.md 14.1. */
export function everyAcceptedRunEnds({ requests, runs }: Evidence): Violation[] {
  const statuses = new Map(runs.map((run) => [run.run_id, run.status]));
  const missing = requests
    .flatMap(({ accepted }) => accepted)
    .filter((run) => !statuses.has(run))
    .map((run) => broken("202 means it will finish", "it was accepted and is not in the table", run));
  const open = runs
    .filter(({ status }) => !TERMINAL.has(status))
    .map(({ run_id, status }) => broken("202 means it will finish", `it is still ${status}`, run_id));
  return [...missing, ...open];
}

/** docs/protocol.md 12: a key stands for one run, also for repeated requests; a request without a key makes at most one run. */
export function eachRequestMakesOneRun({ requests, runs, keys }: Evidence): Violation[] {
  // A child has the correlation id of the run that started it.
  const started = runs.filter(({ parent_run_id }) => parent_run_id === null);
  const byRequest = Map.groupBy(started, ({ correlation_id }) => correlation_id);
  const byKey = new Map(keys.map(({ tenant_id, key, run_id }) => [`${tenant_id} ${key}`, run_id]));
  const known = new Set(requests.map(({ id }) => id));
  const found: Violation[] = [];
  for (const { id, accepted, key, tenant, unknown } of requests) {
    const made = byRequest.get(id) ?? [];
    const received = new Set(accepted);
    const promise = "one run per request";
    if (made.length > 1) found.push(broken(promise, `${id} made ${made.length} runs`, made[0]?.run_id));
    if (received.size > 1)
      found.push(broken(promise, `${id} received ${[...received].join(", ")}`, accepted[0]));
    if (made.length === 1 && received.size === 0 && !unknown)
      found.push(broken(promise, `${id} was refused and made a run`, made[0]?.run_id));
    const [run] = accepted;
    if (key !== null && run !== undefined && byKey.get(`${tenant} ${key}`) !== run)
      found.push(broken(promise, `the key of ${id} is not that of the run it received`, run));
  }
  for (const { run_id, correlation_id } of runs) {
    if (!known.has(correlation_id))
      found.push(broken("one run per request", "no request started it", run_id));
  }
  return found;
}

/** docs/protocol.md 14.8: a dead letter for each end in failure; unresolved if and only if the run is failed now. */
export function eachFailureHasADeadLetter({ runs, journal, deadLetters }: Evidence): Violation[] {
  const letters = Map.groupBy(deadLetters, ({ run_id }) => run_id);
  const ends = Map.groupBy(
    journal.filter((entry) => entry.kind === "end" && statusOf(entry.output) === "failed"),
    ({ run_id }) => run_id,
  );
  return runs.flatMap(({ run_id, status }) => {
    const runLetters = letters.get(run_id) ?? [];
    const failed = (ends.get(run_id) ?? []).map(({ seq }) => seq).join();
    const found: Violation[] = [];
    const promise = "one dead letter per failed run";
    const written = runLetters
      .map(({ seq }) => seq)
      .toSorted((a, b) => a - b)
      .join();
    if (written !== failed)
      found.push(
        broken(promise, `ends in failure: ${failed || "none"}, letters: ${written || "none"}`, run_id),
      );
    const open = runLetters.filter(({ resolved }) => !resolved).length;
    if (open !== (status === "failed" ? 1 : 0))
      found.push(broken(promise, `${open} unresolved, status ${status}`, run_id));
    return found;
  });
}

/** A run whose cancel returned "cancelled" is cancelled, unless it was retried. */
export function cancelledStaysCancelled({ requests, runs }: Evidence): Violation[] {
  const byId = new Map(runs.map((run) => [run.run_id, run]));
  return requests.flatMap(({ cancelled, retried, accepted: [run = ""] }) => {
    const status = byId.get(run)?.status;
    if (!cancelled || retried > 0 || status === "cancelled") return [];
    return [broken("cancelled is a terminal status", `it was cancelled and is ${status}`, run)];
  });
}

/** An unreachable store gives a 503 and a limit a 429; no valid request gets a 500 or a 404. */
export function everyResponseIsExpected({ unexpected }: Evidence): Violation[] {
  return unexpected.map(({ request, status, body }) =>
    broken("every response is expected", `${request}: ${status} ${body}`),
  );
}

function statusOf(endRecord: string | null): unknown {
  const record: unknown = endRecord === null ? null : JSON.parse(endRecord);
  return typeof record === "object" && record !== null && "status" in record ? record.status : null;
}
