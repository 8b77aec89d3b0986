import { z } from "zod";
import { connectionError } from "./sql-tool.ts";
import { TOOL_NAME } from "./tool-names.ts";
import { argumentSchemaOf } from "./tool-schema.ts";
import { JsonTable, limits, orDefault, orNull, Public, required, Strings, tableOf, text } from "./fields.ts";

const ToolName = z
  .string()
  .regex(TOOL_NAME, "must be 1 to 64 letters, digits, _ or - and begin with a letter or _");

const common = {
  name: ToolName,
  generalName: orNull(z.string().max(limits.nameChars)),
  description: text(limits.descriptionChars),
  public: Public,
};

/** `http` or `https`, with the placeholders `{field}` and `{data.a.b}` for arguments. */
const Url = z
  .string()
  .max(2_048)
  .regex(
    /^https?:\/\/[^\s{}/@][^\s{}/@]*(?:\/|\?|$)/,
    "must begin with http:// or https:// and a host that has no placeholder, user or password",
  );

/** How a tool is asked, after a crash, whether a call with an unknown outcome has happened. */
export const Reconcile = z.object({
  method: orDefault(z.enum(["GET", "POST"]).default("GET")),
  /** On the host of the tool's URL, whose headers it gets; also with the placeholder `{effect_key}`. */
  url: Url,
  /** An expression over `answer`. False or null: the call has not happened. True: the answer is its result. Else the value is. */
  found: required(limits.codeChars, "is required: it says whether the call has happened"),
});

const Http = z.object({
  ...common,
  tool_type: z.literal("http"),
  method: orDefault(z.enum(["GET", "POST", "PUT", "PATCH", "DELETE"]).default("GET")),
  url: Url,
  headers: orDefault(tableOf(limits.headers, z.string().max(200), z.string().max(8_192)).default({})),
  /** Headers whose values are no secrets: the values of all others are sealed, and masked in answers. */
  public_headers: Strings(limits.keys),
  /** JSON schema of the arguments. */
  inputSchema: orDefault(JsonTable.default({ type: "object", properties: {} })).transform(
    (given, context) => {
      const result = argumentSchemaOf(given);
      if ("schema" in result) return result.schema;
      context.addIssue({ code: "custom", message: result.error });
      return z.NEVER;
    },
  ),
  /** JSON schema of the response. When it has `properties`, all other fields of a response are dropped. */
  outputSchema: orNull(JsonTable),
  /** `artifact`: a successful response is stored as a file of the run, whatever it is, and the result is a reference to it. */
  response: orDefault(z.enum(["inline", "artifact"]).default("inline")),
  /** Several calls that an agent makes in one answer are sent at the same time. */
  parallel: orDefault(z.boolean().default(false)),
  reconcile: orNull(Reconcile),
  /** False: a call with an unknown outcome is never repeated, unless `reconcile` says that it has not happened. */
  retry_safe: orDefault(z.boolean().default(true)),
  /** The limit of one call. Null: TOOL_TIMEOUT_SECONDS. */
  timeout_seconds: orNull(z.int().min(1).max(limits.toolTimeoutSeconds)),
});

const SqlTool = z.object({
  ...common,
  tool_type: z.literal("sql"),
  /** A connection string of PostgreSQL. All of it is secret. */
  connection: z
    .string()
    .max(2_048)
    .superRefine((connection, context) => {
      const message = connectionError(connection);
      if (message !== null) context.addIssue({ code: "custom", message });
    }),
});

const Python = z.object({ ...common, tool_type: z.literal("python"), code: text(limits.codeChars) });

/** A tool as its author writes it. */
export const ToolDocument = z.discriminatedUnion("tool_type", [Http, SqlTool, Python]);
export type ToolDocument = z.infer<typeof ToolDocument>;

/** Each type of tool that can be saved. */
export const toolSchemas = { http: Http, sql: SqlTool };

/** The fields of each type of tool. The predecessor writes those of both types on a tool in Python. */
export const toolShapes = {
  http: Http.shape,
  sql: SqlTool.shape,
  python: { ...Http.shape, ...Python.shape },
};

/** A tool that sends a request. */
export type HttpTool = z.infer<typeof Http>;
/** A tool that the engine can call. */
export type Tool = HttpTool | z.infer<typeof SqlTool>;
