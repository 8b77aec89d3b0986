import { JsonValue } from "../../shared/contracts/json.ts";
import { TerminalError } from "./step-errors.ts";
import { SandboxPool } from "./sandbox-pool.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Sandbox } from "./ports.ts";
import type { Caller, SubmittedProgram } from "./sandbox-pool.ts";
import type { Program, ProgramResult } from "./sandbox-program.ts";

const EXPRESSION_MS = 1_000;
const TRANSFORM_MS = 5_000;

/** The sandbox of a worker, which all its runs share. `of`: as one of them uses it. */
export type SharedSandbox = { of(caller: Caller): Sandbox; close(): Promise<void> };

/**
 * Runs expressions and programs of definitions with QuickJS (WebAssembly) in threads, each in a fresh context. They have no network and
 * no clock, 32 MiB of memory, 1 s of processor time (an expression) or 5 s (a program), and a result of at most 1 MiB.
 *
 * A promise is awaited. A result that JSON cannot hold (NaN, a map, a function) fails, and the error names its path. A failure is a
 * TerminalError `expression` or `transform`, because the same code over the same state would fail again.
 */
export function createSandbox(options: { lookMs?: number } = {}): SharedSandbox {
  const pool = new SandboxPool(options);
  const run = async (
    program: Omit<SubmittedProgram, "loopVariables"> & { loopVariables: JsonObject },
    caller: Caller,
  ): Promise<Json> => {
    const { code, limitMs } = program;
    const loopVariables = JSON.stringify(program.loopVariables);
    const result = await pool.run({ ...program, loopVariables }, caller);
    if ("failed" in result) throw new TerminalError(code, failureText(result, code, limitMs));
    const value = parseResult(result.json);
    if (value !== undefined) return value;
    throw new TerminalError(code, "the result is not a JSON value at most 64 levels deep");
  };
  return {
    of: (caller) => ({
      evaluate: (source, state, loopVariables = {}) =>
        run({ code: "expression", source, state, loopVariables, limitMs: EXPRESSION_MS }, caller),
      transform: (source, state, loopVariables = {}) =>
        run({ code: "transform", source, state, loopVariables, limitMs: TRANSFORM_MS }, caller),
    }),
    close: () => pool.close(),
  };
}

/** The text is parsed as untrusted: the program may have replaced JSON.stringify. */
function parseResult(json: string): Json | undefined {
  try {
    return JsonValue.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined;
  }
}

function failureText(
  result: Exclude<ProgramResult, { json: string }>,
  code: Program["code"],
  limitMs: number,
): string {
  const subject = code === "expression" ? "the expression" : "transform_code";
  switch (result.failed) {
    case "time":
      return `${subject} used more than ${limitMs / 1_000} s of processor time`;
    case "memory":
      return `${subject} used more memory than 32 MiB`;
    case "size":
      return `the result of ${subject} is larger than 1 MiB`;
    case "value":
      return `the result of ${subject} cannot be stored: ${result.message}`;
    case "error":
      return `${subject} failed: ${result.message}`;
  }
}
