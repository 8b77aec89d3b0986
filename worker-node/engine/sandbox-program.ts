import { z } from "zod";

/** What a new thread of the sandbox sends when it can run programs. */
export const READY = "ready";

/** `state` and `loopVariables` are JSON texts of objects: the properties of `loopVariables` are variables. `limitMs`: of processor time. */
export type Program = {
  code: "expression" | "transform";
  source: string;
  state: string;
  loopVariables: string;
  limitMs: number;
};

/** The result of a program as JSON text, or why there is none. */
export const ProgramResult = z.union([
  z.object({ json: z.string() }),
  z.object({ failed: z.enum(["time", "memory", "size", "value", "error"]), message: z.string() }),
]);
/** `json` is text that the program may have written itself: the caller must parse it. */
export type ProgramResult = z.infer<typeof ProgramResult>;

/**
 * The end of a program in a thread. `mayRunAnother` false: the thread must be replaced, because its heap was full, or because it cannot
 * get its priority back.
 */
export const ProgramEnd = z.object({ result: ProgramResult, mayRunAnother: z.boolean() });
export type ProgramEnd = z.infer<typeof ProgramEnd>;

/** What a thread sends when its program has used more processor time than most. */
export const LONG = "long";

/** What a thread sends to the pool. */
export const ThreadMessage = z.union([z.literal(READY), z.literal(LONG), ProgramEnd]);
