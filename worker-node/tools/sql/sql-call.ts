import { z } from "zod";
import { JsonValue } from "../../../shared/contracts/json.ts";

/** One call of a tool of type `sql`, as the worker sends it to a process. `allow`: the list of EGRESS_ALLOW. */
export const SqlCall = z.object({
  tool: z.object({ name: z.string(), connection: z.string() }),
  args: z.record(z.string(), JsonValue),
  timeoutMs: z.number(),
  allow: z.string(),
});
export type SqlCall = z.infer<typeof SqlCall>;

/** What a process sends when it can take a call. */
export const READY = "ready";

/** The result of a call, or the kind and the parts of its error. `cause` is for the log. */
export const SqlAnswer = z.union([
  z.object({ value: JsonValue }),
  z.object({
    failed: z.enum(["rejection", "terminal", "retryable"]),
    code: z.string(),
    message: z.string(),
    cause: z.string().nullable(),
  }),
]);
export type SqlAnswer = z.infer<typeof SqlAnswer>;

/** What a process sends to the worker. */
export const ProcessMessage = z.union([z.literal(READY), SqlAnswer]);
