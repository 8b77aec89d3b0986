import { parentPort } from "node:worker_threads";
import {
  newQuickJSWASMModule,
  newVariant,
  RELEASE_SYNC,
  shouldInterruptAfterDeadline,
} from "quickjs-emscripten";
import { z } from "zod";
import type { QuickJSContext } from "quickjs-emscripten";
import type { Program, ProgramResult } from "./sandbox-pool.ts";

// The thread of sandbox-pool.ts: runs one program at a time with QuickJS, each in a context of its own.

// Node has `WebAssembly`, but the type libraries for Node do not declare it.
declare const WebAssembly: { Memory: new (pages: { initial: number; maximum: number }) => object };

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

/**
 * Names that conditions of imported definitions use; those conditions are in Python. They are properties of the global
 * object, so that a program may declare the same names. `get` works as Python's and is not enumerable.
 */
const PRELUDE = `
Object.assign(globalThis, {
  state: JSON.parse(__state), True: true, False: false, None: null,
  len: (value) => value == null ? 0 : value.length ?? Object.keys(value).length,
  str: (value) => String(value), int: (value) => Math.trunc(Number(value)), float: (value) => Number(value),
  __is: (a, b) => b === null ? a == null : a === b,
  __in: (a, b) => b == null ? false
    : typeof b === "string" || Array.isArray(b) ? b.includes(a) : Object.hasOwn(b, a),
});
Object.defineProperty(Object.prototype, "get", {
  value(key, fallback = null) { return Object.hasOwn(this, key) ? this[key] : fallback; }, writable: true,
});
delete globalThis.__state;
delete globalThis.Date;
delete globalThis.performance;
`;

/** A program that does not set `result` fails: null would look like a result. */
const READ_RESULT = `if (typeof result === "undefined") throw new Error("it does not set result"); result`;

const wasmMemory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum: MAX_PAGES });
const quickjs = await newQuickJSWASMModule(newVariant(RELEASE_SYNC, { wasmMemory }));

parentPort?.on("message", (program: Program) => parentPort?.postMessage(run(program)));

function run({ code, source, state, limitMs }: Program): ProgramResult {
  const runtime = quickjs.newRuntime();
  runtime.setMaxStackSize(STACK_BYTES);
  runtime.setInterruptHandler(shouldInterruptAfterDeadline(Date.now() + limitMs));
  const context = runtime.newContext();
  try {
    context.newString(state).consume((text) => context.setProp(context.global, "__state", text));
    const scripts = code === "transform" ? [PRELUDE, source, READ_RESULT] : [PRELUDE, source];
    return evaluate(context, scripts);
  } finally {
    context.dispose();
    runtime.dispose();
  }
}

/** Runs the scripts one after another in one context. The value of the last is the result. */
function evaluate(context: QuickJSContext, scripts: readonly string[]): ProgramResult {
  for (const [index, script] of scripts.entries()) {
    const evaluated = context.evalCode(script);
    if (evaluated.error) return failure(evaluated.error.consume((error): unknown => context.dump(error)));
    if (index < scripts.length - 1) evaluated.value.dispose();
    else evaluated.value.consume((value) => context.setProp(context.global, "__value", value));
  }
  const serialized = context.evalCode("JSON.stringify(__value) ?? 'null'");
  if (serialized.error) return failure(serialized.error.consume((error): unknown => context.dump(error)));
  const json = serialized.value.consume((text) => context.getString(text));
  return json.length > MAX_RESULT_CHARS ? { failed: "size", message: "" } : { json };
}

const Thrown = z.object({ name: z.string(), message: z.string() });

function failure(error: unknown): ProgramResult {
  // Without the memory for an error, QuickJS throws null or an empty value.
  if (!error) return { failed: "memory", message: "" };
  const thrown = Thrown.safeParse(error);
  if (!thrown.success)
    return { failed: "error", message: `it threw ${JSON.stringify(error)}`.slice(0, MAX_MESSAGE_CHARS) };
  const { name, message } = thrown.data;
  if (name === "InternalError" && message === "interrupted") return { failed: "time", message: "" };
  if (name === "InternalError" && message === "out of memory") return { failed: "memory", message: "" };
  return { failed: "error", message: `${name}: ${message}`.slice(0, MAX_MESSAGE_CHARS) };
}
