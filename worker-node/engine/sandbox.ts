import { JsonValue } from "../../shared/contracts/json.ts";
import { TerminalError } from "./step-errors.ts";
import { SandboxPool } from "./sandbox-pool.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Sandbox } from "./ports.ts";
import type { Caller } from "./sandbox-pool.ts";
import type { Program, ProgramResult } from "./sandbox-program.ts";

const EXPRESSION_MS = 1_000;
const TRANSFORM_MS = 5_000;

/** The sandbox of a worker, which all its runs share. `of`: as one of them uses it. */
export type SharedSandbox = { of(caller: Caller): Sandbox; close(): Promise<void> };

/**
 * Runs expressions and programs of definitions with QuickJS (WebAssembly), in threads: no network, no clock, 32 MiB,
 * 1 s of processor time for an expression and 5 s for a program, results of at most 1 MiB, a fresh context for each. A promise is
 * awaited; a result that JSON cannot hold (NaN, a map, a function) fails, and the error names its path. A failure is a
 * TerminalError `expression` or `transform`, because the same code over the same state would fail again.
 */
export function createSandbox(): SharedSandbox {
  const pool = new SandboxPool();
  const run = async (
    code: Program["code"],
    source: string,
    state: JsonObject,
    loopVariables: JsonObject,
    limitMs: number,
    caller: Caller,
  ): Promise<Json> => {
    const result = await pool.run(
      { code, source, state, loopVariables: JSON.stringify(loopVariables), limitMs },
      caller,
    );
    if ("failed" in result) throw new TerminalError(code, failureText(result, code, limitMs));
    const value = parseResult(result.json);
    if (value !== undefined) return value;
    throw new TerminalError(code, "the result is not a JSON value at most 64 levels deep");
  };
  return {
    of: (caller) => ({
      evaluate: (expression, state, loopVariables = {}) =>
        run("expression", expression, state, loopVariables, EXPRESSION_MS, caller),
      transform: (code, state, loopVariables = {}) =>
        run("transform", code, state, loopVariables, TRANSFORM_MS, caller),
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
