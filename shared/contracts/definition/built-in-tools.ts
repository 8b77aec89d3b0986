import type { JsonObject } from "../json.ts";

/** A tool that every tenant has without saving it. */
export type BuiltInTool = {
  description: string;
  inputSchema: JsonObject;
  /** Several calls of one answer may be made at the same time. */
  parallel: boolean;
};

const object = (properties: JsonObject, required: string[]): JsonObject => ({
  type: "object",
  properties,
  required,
  additionalProperties: false,
});

/** The built-in tools by name. A tool that is saved under one of these names comes before it. */
export const builtInTools = {
  get_datetime: {
    description: "The current date and time in a time zone.",
    parallel: true,
    inputSchema: object(
      { timezone: { type: "string", description: "IANA name, such as Europe/Berlin. Default: UTC" } },
      [],
    ),
  },
  http_request: {
    description:
      "Sends one HTTP request and returns its status, content type and body. Redirects are not followed: the answer has their location.",
    parallel: false,
    inputSchema: object(
      {
        url: { type: "string", description: "http or https" },
        method: { type: "string", enum: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] },
        headers: { type: "object", properties: {}, additionalProperties: { type: "string" } },
        body: { type: "string" },
      },
      ["url"],
    ),
  },
  run_javascript: {
    description:
      "Runs a JavaScript program without network, clock and files, and returns the value that it gives to the variable result. The variable input holds the value of input.",
    parallel: true,
    inputSchema: object({ code: { type: "string" }, input: { description: "Any JSON value" } }, ["code"]),
  },
} as const satisfies { [name: string]: BuiltInTool };

export type BuiltInName = keyof typeof builtInTools;

export function isBuiltIn(name: unknown): name is BuiltInName {
  return typeof name === "string" && Object.hasOwn(builtInTools, name);
}
