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
  spawn_run: {
    description:
      "Starts a run of an orchestration and waits for its end: the answer has its run_id, its status and its output. With wait false it returns the run_id at once, and the run goes on by itself.",
    parallel: false,
    inputSchema: object(
      {
        orchestration_id: { type: "string" },
        message: { type: "string", description: "What the run is to do" },
        wait: { type: "boolean", description: "Default: true" },
      },
      ["orchestration_id", "message"],
    ),
  },
  send_email: {
    description:
      "Queues one mail, as text or HTML, from the sender of this deployment, and returns its message_id. It is sent at once, or at send_at.",
    parallel: false,
    inputSchema: object(
      {
        to: { type: "array", items: { type: "string" }, description: "Addresses; with cc 50 at most" },
        cc: { type: "array", items: { type: "string" } },
        subject: { type: "string" },
        text: { type: "string" },
        html: { type: "string" },
        reply_to: { type: "string" },
        priority: { type: "integer", description: "0 to 10; higher ones are sent first. Default: 0" },
        send_at: { type: "string", description: "RFC 3339 time before which it is not sent" },
      },
      ["to", "subject"],
    ),
  },
  artifact_write: {
    description:
      "Writes a file and returns a reference to it with its url. A file of the same name is replaced. Give content for text, or content_base64 for bytes.",
    parallel: false,
    inputSchema: object(
      {
        name: { type: "string", description: "Such as report.csv; no path" },
        content: { type: "string" },
        content_base64: { type: "string" },
        content_type: {
          type: "string",
          description: "Media type. Default: text/plain, or application/octet-stream",
        },
        scope: {
          type: "string",
          enum: ["run", "session"],
          description: "session: later runs of the same session can read it too. Default: run",
        },
      },
      ["name"],
    ),
  },
  artifact_read: {
    description:
      "Reads a file, or a part of it: text as content, other bytes as content_base64. artifact_list has the names.",
    parallel: true,
    inputSchema: object(
      {
        name: { type: "string", description: "The name of a file, or the id of an attached upload" },
        offset: { type: "integer", description: "The first byte. Default: 0" },
        length: { type: "integer", description: "The most bytes, up to 1048576. Default: 65536" },
      },
      ["name"],
    ),
  },
  artifact_list: {
    description: "The files of this run and of its session, and the uploads that are attached to the run.",
    parallel: true,
    inputSchema: object({}, []),
  },
} as const satisfies { [name: string]: BuiltInTool };

/** The name of a built-in tool. */
export type BuiltInName = keyof typeof builtInTools;

/** Whether a name is that of a built-in tool. */
export function isBuiltIn(name: unknown): name is BuiltInName {
  return typeof name === "string" && Object.hasOwn(builtInTools, name);
}
