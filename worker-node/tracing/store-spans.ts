import { z } from "zod";
import { isUnknownScript } from "../../shared/queue/scripts.ts";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Span, SpanOptions, Tracer } from "../../shared/tracing/span.ts";
import { postgresAttributes, redisAttributes } from "../../shared/tracing/store-attributes.ts";
import type { ExecutionSpans } from "./execution-spans.ts";
import type { StoreCall } from "./tracing.ts";

/** The most runs of a call to which its span is linked. */
const MAX_RUNS = 32;
/** The most elements of an argument among which runs are looked for: as many as a flush has entries. */
const MAX_ENTRIES = 256;
/** A call that takes longer is worth a span, whatever it does. */
const SLOW_MS = 500;

const attributesOf = { postgres: postgresAttributes, redis: redisAttributes };

/** A run as a claim returns it. */
const Started = z.object({ traceparent: z.string() });

/**
 * Executes a call in a span. Of the runs that the call names and that were executed here, the span is a child of the first one's
 * execution, and linked to the executions of the others. A claim is a part of the trace of each run that it claimed.
 *
 * A call that names no such run has a span only if it fails. So has one that commits or publishes only events of runs, such as the text
 * of a model, or if it is slow: an answer that streams for a minute would be a thousand spans. The spans of executions count them.
 */
export async function inStoreSpan<Result>(
  tracer: Tracer,
  executions: ExecutionSpans,
  call: StoreCall,
  work: () => Promise<Result>,
): Promise<Result> {
  const { store, operation, args } = call;
  const ofEvents = runsOfEvents(call, executions);
  const [parent = null, ...links] = executions.of(runsIn(args, ofEvents));
  const name = `${store} ${operation}`;
  const startMs = Date.now();
  const options = {
    kind: "client" as const,
    attributes: attributesOf[store](operation),
    isFailure: (error: unknown) => !isUnknownScript(error),
    startMs,
  };
  const [parentOfEvents = null, ...linksOfEvents] = executions.of([...ofEvents].slice(0, MAX_RUNS));
  const result = await (parent === null
    ? inRareSpan(tracer, name, { ...options, parent: parentOfEvents, links: linksOfEvents }, work)
    : inSpan(tracer, name, { ...options, parent, links }, work));
  if (
    store === "postgres" &&
    Array.isArray(result) &&
    (operation === "claim" || operation === "claimDirectly")
  )
    for (const run of result.slice(0, MAX_RUNS))
      recordClaim(run, (of) => tracer.start(name, { ...options, parent: of }));
  return result;
}

/**
 * Work that makes a span only when it fails, or when it is a part of a trace and slow. The beats and looks of an idle fleet would be a
 * dozen traces a second, and hide those of runs.
 */
async function inRareSpan<Result>(
  tracer: Tracer,
  name: string,
  options: SpanOptions,
  work: () => Promise<Result>,
): Promise<Result> {
  const startedMs = performance.now();
  try {
    const result = await work();
    const isSlow = performance.now() - startedMs >= SLOW_MS;
    if (isSlow && options.parent !== null) tracer.start(name, options).end();
    return result;
  } catch (error) {
    if (options.isFailure?.(error) ?? true) {
      const span = tracer.start(name, options);
      span.fail(error);
      span.end();
    }
    throw error;
  }
}

function recordClaim(run: unknown, start: (parent: string) => Span): void {
  const started = Started.safeParse(run);
  if (started.success) start(started.data.traceparent).end();
}

/** The runs of which a call commits or publishes events alone. A publish follows the flush of what it publishes. */
function runsOfEvents({ store, operation, args }: StoreCall, executions: ExecutionSpans): Set<string> {
  const named = args.flat();
  if (store === "redis")
    return new Set(named.filter(isRun).filter((run) => operation === "XADD" && executions.isOfEvents(run)));
  const ofEvents = new Set<string>();
  for (const entry of operation === "flush" ? named : []) {
    if (typeof entry !== "object" || entry === null || !("run_id" in entry) || !("kind" in entry)) continue;
    const { run_id: run, kind } = entry;
    if (!isRun(run)) continue;
    executions.flushed(run, kind === "note");
    if (kind === "note") ofEvents.add(run);
  }
  return ofEvents;
}

/** The ids of other runs in the arguments of a verb or of a script, at most `MAX_RUNS`, each once. */
function runsIn(args: readonly unknown[], without: ReadonlySet<string>): Set<string> {
  const runs = new Set<string>();
  const pending = [...args];
  for (const arg of pending) {
    if (runs.size >= MAX_RUNS) break;
    if (isRun(arg)) {
      if (!without.has(arg)) runs.add(arg);
    } else if (Array.isArray(arg)) pending.push(...arg.slice(0, MAX_ENTRIES));
    else if (typeof arg === "object" && arg !== null && "run_id" in arg) pending.push(arg.run_id);
  }
  return runs;
}

function isRun(arg: unknown): arg is string {
  return typeof arg === "string" && arg.startsWith("run_");
}
