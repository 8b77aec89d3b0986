import { getPriority, setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { newQuickJSWASMModule, newVariant, RELEASE_SYNC, Scope } from "quickjs-emscripten";
import { z } from "zod";
import { lineAndColumn, scriptOfCode } from "../../shared/contracts/definition/code.ts";
import type { ConditionScript } from "../../shared/contracts/definition/condition.ts";
import { EXACT, mayHaveLongInteger, withExactIntegers } from "./exact-integers.ts";
import { stateInWords } from "./state-at-failure.ts";
import { NOT_JSON, preludeFor, READ_RESULT, SERIALIZER } from "./sandbox-prelude.ts";
import type { QuickJSContext, QuickJSHandle } from "quickjs-emscripten";
import { LONG, READY } from "./sandbox-program.ts";
import type { Program, ProgramEnd, ProgramResult } from "./sandbox-program.ts";

// The thread of sandbox-pool.ts: runs one program at a time with QuickJS, each in a context of its own.

// Node has `WebAssembly`, but the type libraries for Node do not declare it.
declare const WebAssembly: {
  Memory: new (pages: { initial: number; maximum: number }) => { grow(pages: number): number };
};

/**
 * Pages of 64 KiB. The build of QuickJS starts with 16 MiB. The maximum of 38 MiB leaves about 32 MiB to a program beside
 * the 6 MiB of QuickJS itself. The limit is on the WebAssembly memory, because `setMemoryLimit` checks single allocations
 * only and let a program take 2 GB.
 */
const INITIAL_PAGES = 16 * 16;
const MAX_PAGES = 38 * 16;
const STACK_BYTES = 512 * 1024;
const MAX_RESULT_CHARS = 1024 * 1024;
const MAX_MESSAGE_CHARS = 500;
const JOBS_BETWEEN_CLOCKS = 1_000;
const LOWEST_PRIORITY = 19;
/** The name of the program's own script in the stacks of errors. */
const OWN_SCRIPT = "program.js";
/** What the result of a program, and that of an expression, is called in errors. */
const OF_PROGRAM = "result";
const OF_EXPRESSION = "the value";
const OWN_PLACE = /program\.js:(\d+):(\d+)/;
/** A program that uses more processor time than this is long. Most use a tenth of it. */
const LONG_MS = 100;
/** How far the priority of this thread is below that of the worker's own thread: in a program's first 100 ms, and after them. */
const YIELDS = { short: 5, long: 10 };

/** WebAssembly memory that records whether the latest request of QuickJS for more of it was refused. */
class BoundedMemory extends WebAssembly.Memory {
  wasRefused = false;

  override grow(pages: number): number {
    this.wasRefused = true;
    const before = super.grow(pages);
    this.wasRefused = false;
    return before;
  }
}

const wasmMemory = new BoundedMemory({ initial: INITIAL_PAGES, maximum: MAX_PAGES });
const quickjs = await newQuickJSWASMModule(newVariant(RELEASE_SYNC, { wasmMemory }));

const ownPriority = process.platform === "linux" ? getPriority() : 0;
yieldBy(YIELDS.short);
parentPort?.on("message", (program: Program) => parentPort?.postMessage(run(program)));
parentPort?.postMessage(READY);

/**
 * Lowers the priority of this thread by `levels`. On a busy machine it then gets a third of the processor time of a thread with the usual
 * priority, and a ninth when its program is long. So endless programs slow down neither short programs nor the worker's event loop, on
 * which the runs of all tenants depend. On Linux the call is for this thread alone; elsewhere it would be for the process.
 * @returns false where the system does not let this process raise a priority that it has lowered
 */
function yieldBy(levels: number): boolean {
  if (process.platform !== "linux") return true;
  const priority = Math.min(LOWEST_PRIORITY, ownPriority + levels);
  try {
    if (getPriority() !== priority) setPriority(0, priority);
    return true;
  } catch {
    return false;
  }
}

function run(program: Program): ProgramEnd {
  const usedMs = processorTime();
  let isLong = false;
  const result = resultIn(program, () => {
    const used = usedMs();
    if (used > LONG_MS && !isLong) {
      isLong = true;
      // First, because a thread with a low priority may wait for the processor before its next instruction.
      parentPort?.postMessage(LONG);
      yieldBy(YIELDS.long);
    }
    return used > program.limitMs;
  });
  // QuickJS calls `isOver` between instructions, and not while it reads a large state.
  if (!isLong && usedMs() > LONG_MS) parentPort?.postMessage(LONG);
  const hasPriority = yieldBy(YIELDS.short);
  // A thread whose heap was full runs no other tenant's program.
  const wasFull = "failed" in result && result.failed === "memory";
  return { result, mayRunAnother: hasPriority && !wasFull };
}

/** @param isOver is called again and again while the program runs */
function resultIn(program: Program, isOver: () => boolean): ProgramResult {
  wasmMemory.wasRefused = false;
  const runtime = quickjs.newRuntime();
  const context = runtime.newContext();
  const result = resultOf(program, context, isOver);
  try {
    context.dispose();
    runtime.dispose();
  } catch {
    // QuickJS aborts when objects are left. They are where the memory was used up while a promise's reaction ran.
    return { failed: "memory", message: "" };
  }
  return result;
}

function resultOf(
  { code, source, state, loopVariables }: Program,
  context: QuickJSContext,
  isOver: () => boolean,
): ProgramResult {
  context.runtime.setMaxStackSize(STACK_BYTES);
  context.runtime.setInterruptHandler(isOver);
  const isTransform = code === "transform";
  const own = scriptOfCode({ text: source, isExpression: !isTransform });
  const isExact = mayHaveLongInteger(state) || mayHaveLongInteger(loopVariables);
  try {
    context.newString(state).consume((text) => context.setProp(context.global, "__state", text));
    context
      .newString(loopVariables)
      .consume((text) => context.setProp(context.global, "__loopVariables", text));
    // In strict mode a program may set no name that nothing defines.
    if (isTransform) context.setProp(context.global, "result", context.undefined);
    const scripts = [
      { text: preludeFor(own.script) },
      ...(isExact ? [{ text: EXACT }] : []),
      { text: isExact ? withExactIntegers(own.script) : own.script, name: OWN_SCRIPT },
      ...(isTransform ? [{ text: READ_RESULT }] : []),
    ];
    const json = evaluate(context, scripts, isTransform ? OF_PROGRAM : OF_EXPRESSION, isOver);
    return json.length > MAX_RESULT_CHARS ? { failed: "size", message: "" } : { json };
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    const { result, stackOfThrown } = error;
    if (result.failed !== "error" && result.failed !== "value") return result;
    // Where operators are calls of `__exact`, the columns are others than those of the code.
    const place = isExact ? "" : placeIn(stackOfThrown, own, source);
    const where = [place, stateInWords(own.script, state)].filter((part) => part !== "").join("; ");
    return where === "" ? result : { ...result, message: `${result.message} (${where})` };
  }
}

/** The line and the column of the code at which the innermost of its own calls was; empty: a stack without such a call. */
function placeIn(stack: string, { script, offsetOf }: ConditionScript, source: string): string {
  const [, line, column] = OWN_PLACE.exec(stack) ?? [];
  if (line === undefined) return "";
  const before = script.split("\n").slice(0, Number(line));
  // QuickJS counts a character beyond U+FFFF as one column, and editors and acorn count it as two.
  const characters = Array.from(before.pop() ?? "").slice(0, Number(column) - 1);
  const offset = before.reduce((sum, text) => sum + text.length + 1, characters.join("").length);
  return lineAndColumn(source, Math.min(offsetOf(offset), source.length));
}

/** Returns the processor time in milliseconds that this thread has used since this call: the work of other programs does not count. */
function processorTime(): () => number {
  const usedMs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1_000;
  };
  const startMs = usedMs();
  return () => usedMs() - startMs;
}

type Failure = Exclude<ProgramResult, { json: string }>;

/** The program failed, or its time is over. */
class ProgramError extends Error {
  readonly result: Failure;
  readonly stackOfThrown: string;

  constructor(result: Failure, stackOfThrown = "") {
    super("the program failed");
    this.result = result;
    this.stackOfThrown = stackOfThrown;
  }
}

/** A script, and its name in the stacks of errors. */
type NamedScript = { text: string; name?: string };

/**
 * Runs the scripts one after another in one context. Returns the value of the last one, which has the name `name`, as JSON. A script
 * whose value is a promise that was rejected has failed: nothing else awaits it.
 */
function evaluate(
  context: QuickJSContext,
  scripts: readonly NamedScript[],
  name: string,
  isOver: () => boolean,
): string {
  // A handle that is left when the runtime is freed aborts the whole thread.
  return Scope.withScope((scope) => {
    const managed = (result: ReturnType<QuickJSContext["evalCode"]>): QuickJSHandle =>
      scope.manage(valueOf(context, result));
    // A program may replace the built-ins that the serializer uses, so the serializer is compiled before it. Most expressions need
    // no serializer: theirs is compiled when it is needed. Every result is read as untrusted JSON.
    const early = name === OF_PROGRAM ? managed(context.evalCode(SERIALIZER)) : null;
    let value = context.undefined;
    for (const script of scripts) {
      value = managed(context.evalCode(script.text, script.name));
      runPendingJobs(context, isOver);
      throwRejected(context, value);
    }
    const settled = scope.manage(settledValue(context, value, name));
    const plain = plainJson(context, settled);
    if (plain !== null) return plain;
    const toJson = early ?? managed(context.evalCode(SERIALIZER));
    const nameText = scope.manage(context.newString(name));
    return context.getString(managed(context.callFunction(toJson, context.undefined, settled, nameText)));
  });
}

/** Runs the reactions of promises: they are due once the script that made the promises has ended. */
function runPendingJobs(context: QuickJSContext, isOver: () => boolean): void {
  while (context.runtime.hasPendingJob()) {
    const ran = context.runtime.executePendingJobs(JOBS_BETWEEN_CLOCKS);
    if (ran.error) throw failed(context, ran.error);
    // A promise takes the interrupt for its own rejection.
    if (isOver()) throw new ProgramError({ failed: "time", message: "" });
  }
}

/** The JSON of a truth value, a safe number or a whole text, which need no serializer; null: the value needs it. */
function plainJson(context: QuickJSContext, value: QuickJSHandle): string | null {
  switch (context.typeof(value)) {
    case "boolean":
      return JSON.stringify(context.dump(value));
    case "number": {
      const number = context.getNumber(value);
      return Number.isFinite(number) && Math.abs(number) <= Number.MAX_SAFE_INTEGER
        ? JSON.stringify(number)
        : null;
    }
    case "string": {
      const text = context.getString(value);
      const length = context.getProp(value, "length").consume((handle) => context.getNumber(handle));
      // A text comes out of QuickJS without what follows U+0000, and with another character for half of a surrogate pair.
      return text.length !== length || /[\ud800-\udfff\ufffd]/.test(text) ? null : JSON.stringify(text);
    }
    default:
      return null;
  }
}

function throwRejected(context: QuickJSContext, value: QuickJSHandle): void {
  const state = context.getPromiseState(value);
  if (state.type === "rejected") throw failed(context, state.error);
  if (state.type === "fulfilled" && !state.notAPromise) state.value.dispose();
}

/** The value with which a promise was fulfilled after its jobs have run; any other value as it is. */
function settledValue(context: QuickJSContext, promise: QuickJSHandle, name: string): QuickJSHandle {
  const state = context.getPromiseState(promise);
  if (state.type === "fulfilled") return state.notAPromise ? promise.dup() : state.value;
  if (state.type === "rejected") throw failed(context, state.error);
  throw new ProgramError({ failed: "value", message: `${name} is a promise that nothing settles` });
}

function valueOf(context: QuickJSContext, result: ReturnType<QuickJSContext["evalCode"]>): QuickJSHandle {
  if (result.error) throw failed(context, result.error);
  return result.value;
}

function failed(context: QuickJSContext, thrown: QuickJSHandle): ProgramError {
  const error = thrown.consume((handle): unknown => context.dump(handle));
  return new ProgramError(failure(error), Thrown.safeParse(error).data?.stack);
}

const Thrown = z.object({ name: z.string(), message: z.string(), stack: z.string().catch("") });

function failure(error: unknown): Failure {
  // Without the memory for an error, QuickJS throws null or an empty value.
  if (!error && wasmMemory.wasRefused) return { failed: "memory", message: "" };
  const thrown = Thrown.safeParse(error);
  if (!thrown.success)
    return { failed: "error", message: `it threw ${shown(error)}`.slice(0, MAX_MESSAGE_CHARS) };
  const { name, message } = thrown.data;
  if (name === "InternalError" && message === "interrupted") return { failed: "time", message: "" };
  if (name === NOT_JSON) return { failed: "value", message: message.slice(0, MAX_MESSAGE_CHARS) };
  if (name === "InternalError" && message === "out of memory") return { failed: "memory", message: "" };
  return { failed: "error", message: `${name}: ${message}`.slice(0, MAX_MESSAGE_CHARS) };
}

/** A thrown value that is no error, as its author would write it. */
function shown(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  return typeof value === "string" || (typeof value === "object" && value !== null)
    ? JSON.stringify(value)
    : String(value);
}
