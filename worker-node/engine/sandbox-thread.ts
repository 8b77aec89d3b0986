import { parentPort } from "node:worker_threads";
import {
  newQuickJSWASMModule,
  newVariant,
  RELEASE_SYNC,
  shouldInterruptAfterDeadline,
} from "quickjs-emscripten";
import { z } from "zod";
import type { QuickJSContext } from "quickjs-emscripten";
import type { Answer, Program } from "./sandbox.ts";

// The thread in which sandbox.ts runs QuickJS. One program at a time; its context dies with it.

// In every Node, but not in the compiler's libraries for it.
declare const WebAssembly: { Memory: new (pages: { initial: number; maximum: number }) => object };

/**
 * In pages of 64 KiB: what this build begins with, and about 32 MiB for a program beside 6 MiB of its own. The limit is
 * that of the WebAssembly memory: `setMemoryLimit` looks at single allocations alone and let a program take 2 GB.
 */
const FIRST_PAGES = 16 * 16;
const MOST_PAGES = 38 * 16;
const STACK_BYTES = 512 * 1024;
const RESULT_CHARS = 1024 * 1024;
const MESSAGE_CHARS = 500;

/**
 * Names that conditions of the original use. Properties of the global object, so that a program may declare its own;
 * `get` answers as Python's does and is not seen when keys are listed.
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

/** A condition for having no result; a program that forgets to set one must not look as if it had answered null. */
const RESULT = `if (typeof result === "undefined") throw new Error("it does not set result"); result`;

const wasmMemory = new WebAssembly.Memory({ initial: FIRST_PAGES, maximum: MOST_PAGES });
const quickjs = await newQuickJSWASMModule(newVariant(RELEASE_SYNC, { wasmMemory }));

parentPort?.on("message", (program: Program) => parentPort?.postMessage(run(program)));

function run({ code, source, state, limitMs }: Program): Answer {
  const runtime = quickjs.newRuntime();
  runtime.setMaxStackSize(STACK_BYTES);
  runtime.setInterruptHandler(shouldInterruptAfterDeadline(Date.now() + limitMs));
  const context = runtime.newContext();
  try {
    context.newString(state).consume((text) => context.setProp(context.global, "__state", text));
    const scripts = code === "transform" ? [PRELUDE, source, RESULT] : [PRELUDE, source];
    return evaluate(context, scripts);
  } finally {
    context.dispose();
    runtime.dispose();
  }
}

/** Runs scripts one after another in the same context; the value of the last is the answer. */
function evaluate(context: QuickJSContext, scripts: readonly string[]): Answer {
  for (const [index, script] of scripts.entries()) {
    const evaluated = context.evalCode(script);
    if (evaluated.error) return failure(evaluated.error.consume((error): unknown => context.dump(error)));
    if (index < scripts.length - 1) evaluated.value.dispose();
    else evaluated.value.consume((value) => context.setProp(context.global, "__value", value));
  }
  const written = context.evalCode("JSON.stringify(__value) ?? 'null'");
  if (written.error) return failure(written.error.consume((error): unknown => context.dump(error)));
  const json = written.value.consume((text) => context.getString(text));
  return json.length > RESULT_CHARS ? { failed: "size", message: "" } : { json };
}

const Thrown = z.object({ name: z.string(), message: z.string() });

function failure(error: unknown): Answer {
  // With no memory left to make an error of, QuickJS throws null or an empty one.
  if (!error) return { failed: "memory", message: "" };
  const thrown = Thrown.safeParse(error);
  if (!thrown.success)
    return { failed: "error", message: `it threw ${JSON.stringify(error)}`.slice(0, MESSAGE_CHARS) };
  const { name, message } = thrown.data;
  if (name === "InternalError" && message === "interrupted") return { failed: "time", message: "" };
  if (name === "InternalError" && message === "out of memory") return { failed: "memory", message: "" };
  return { failed: "error", message: `${name}: ${message}`.slice(0, MESSAGE_CHARS) };
}
