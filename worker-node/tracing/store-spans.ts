import { z } from "zod";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Span, Tracer } from "../../shared/tracing/span.ts";
import { postgresAttributes, redisAttributes } from "../../shared/tracing/store-attributes.ts";
import type { ExecutionSpans } from "./execution-spans.ts";
import type { StoreCall } from "./tracing.ts";

/** The most runs of a call to which its span is linked. */
const MAX_RUNS = 32;

const attributesOf = { postgres: postgresAttributes, redis: redisAttributes };

/** A run as a claim returns it. */
const Started = z.object({ traceparent: z.string() });

/**
 * Executes a call in a span. Of the runs that the call names and that were executed here, the span is a child of the first one's
 * execution, and linked to the executions of the others. A call that names no such run has a trace of its own. A claim is a part of the
 * trace of each run that it claimed.
 */
export async function inStoreSpan<Result>(
  tracer: Tracer,
  executions: ExecutionSpans,
  { store, operation, args }: StoreCall,
  work: () => Promise<Result>,
): Promise<Result> {
  const [parent = null, ...links] = executions.of(runsIn(args));
  const name = `${store} ${operation}`;
  const options = { kind: "client" as const, attributes: attributesOf[store](operation) };
  const startMs = Date.now();
  const result = await inSpan(tracer, name, { ...options, parent, links }, work);
  if (
    store === "postgres" &&
    Array.isArray(result) &&
    (operation === "claim" || operation === "claimDirectly")
  )
    for (const run of result.slice(0, MAX_RUNS))
      recordClaim(run, (of) => tracer.start(name, { ...options, parent: of, startMs }));
  return result;
}

function recordClaim(run: unknown, start: (parent: string) => Span): void {
  const started = Started.safeParse(run);
  if (started.success) start(started.data.traceparent).end();
}

/** The ids of runs in the arguments of a verb or of a script, at most `MAX_RUNS`, each once. */
function runsIn(args: readonly unknown[]): Set<string> {
  const runs = new Set<string>();
  const pending = [...args];
  for (const arg of pending) {
    if (runs.size >= MAX_RUNS) break;
    if (typeof arg === "string" && arg.startsWith("run_")) runs.add(arg);
    else if (Array.isArray(arg)) pending.push(...arg.slice(0, MAX_RUNS));
    else if (typeof arg === "object" && arg !== null && "run_id" in arg) pending.push(arg.run_id);
  }
  return runs;
}
