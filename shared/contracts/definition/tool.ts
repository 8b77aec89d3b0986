import { z } from "zod";
import { JsonTable, limits, orDefault, orNull, text } from "./fields.ts";

/** The name under which a model calls a tool: what all providers accept. */
const ToolName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_-]{0,63}$/, "must be 1 to 64 letters, digits, _ or -");

const common = {
  name: ToolName,
  generalName: orNull(z.string().max(limits.nameChars)),
  description: text(limits.descriptionChars),
};

/** `http` or `https`, with `{field}` and `{data.a.b}` as places for arguments. */
const Url = z
  .string()
  .max(2_048)
  .regex(
    /^https?:\/\/[^\s{}/@][^\s{}/@]*(?:\/|\?|$)/,
    "must begin with http:// or https:// and a host without placeholders",
  );

const Http = z.object({
  ...common,
  tool_type: z.literal("http"),
  method: orDefault(z.enum(["GET", "POST", "PUT", "PATCH", "DELETE"]).default("GET")),
  url: Url,
  headers: orDefault(z.record(z.string().max(200), z.string().max(8_192)).default({})),
  /** JSON schema of the arguments. */
  inputSchema: orDefault(JsonTable.default({ type: "object", properties: {} })),
  /** JSON schema of the answer; its `properties`, where there are any, are all that is kept of it. */
  outputSchema: orNull(JsonTable),
});

const Python = z.object({ ...common, tool_type: z.literal("python"), code: text(limits.codeChars) });

export const ToolDocument = z.discriminatedUnion("tool_type", [Http, Python]);
export type ToolDocument = z.infer<typeof ToolDocument>;

/** A tool that can be called. */
export type Tool = z.infer<typeof Http>;
