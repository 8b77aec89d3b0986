import { z } from "zod";

/** What a new thread of the sandbox sends when it can run programs. */
export const READY = "ready";

/** `state` and `each` are JSON texts of objects: the properties of `each` are variables. `limitMs`: of processor time. */
export type Program = {
  code: "expression" | "transform";
  source: string;
  state: string;
  each: string;
  limitMs: number;
};

export const ProgramResult = z.union([
  z.object({ json: z.string() }),
  z.object({ failed: z.enum(["time", "memory", "size", "value", "error"]), message: z.string() }),
]);
/** `json` is text that the program may have written itself: the caller must parse it. */
export type ProgramResult = z.infer<typeof ProgramResult>;

/** What a thread sends to the pool. */
export const ThreadMessage = z.union([z.literal(READY), ProgramResult]);
