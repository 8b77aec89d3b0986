import { parseJson } from "../../engine/parse-json.ts";
import { withLongIntegersAsText } from "../../../shared/contracts/long-integers.ts";
import type { JsonPath } from "../../../shared/contracts/long-integers.ts";
import { withReadableMembers } from "./readable-members.ts";

/**
 * A response of an MCP server as the library can read it: with members that it knows (readable-members.ts), and with the digits
 * of long integers. The integers beyond 2^53 of a tool's structured result are texts of their digits, as in other
 * tools' answers. The library reads JSON as JavaScript's numbers, and the digits would be lost. All else stays as it is: where the
 * protocol or a schema has a number, such as `maximum` or `ttl`, a text would be wrong.
 */
export function keepDigits(response: Response): Response {
  const type = /^(application\/json|text\/event-stream)\b/i.exec(
    response.headers.get("content-type") ?? "",
  )?.[1];
  if (type === undefined || response.body === null) return response;
  const body = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(type.toLowerCase() === "application/json" ? ofWhole() : ofEvents())
    .pipeThrough(new TextEncoderStream());
  const { status, statusText, headers } = response;
  return new Response(body, { status, statusText, headers });
}

/** The caller's limit of the response's bytes bounds the text. */
function ofWhole(): TransformStream<string, string> {
  let json = "";
  return new TransformStream({
    transform(chunk) {
      json += chunk;
    },
    flush(controller) {
      controller.enqueue(readableJson(json));
    },
  });
}

/** How often the end of a chunk is taken for the end of an event. */
const MAX_TRIES = 8;

/**
 * Changes the JSON of each event, which may have several lines of data. Each line is read once. Some servers leave out the empty line that
 * ends an event, or the end of its last line, and keep the connection open: an event whose data are whole JSON ends with its chunk.
 */
function ofEvents(): TransformStream<string, string> {
  let rest = "";
  let data = "";
  let tries = 0;
  const ended = (): string => {
    const lines = data + rest;
    if (!lines.startsWith("data:")) return "";
    tries += 1;
    if (parseJson(jsonOf(lines)) === undefined) return "";
    data = rest = "";
    tries = 0;
    return `${withDigitsInData(`${lines.trimEnd()}\n`)}\n`;
  };
  const changed = (line: string): string => {
    // A chunk may end between the two characters of a line's end.
    if (line.startsWith("data:") || (line === "\n" && data.endsWith("\r"))) {
      data += line;
      return "";
    }
    const before = withDigitsInData(data);
    data = "";
    tries = 0;
    return before + line;
  };
  return new TransformStream({
    transform(chunk, controller) {
      const end = Math.max(chunk.lastIndexOf("\n"), chunk.lastIndexOf("\r")) + 1;
      const lines = end === 0 ? "" : rest + chunk.slice(0, end);
      rest = end === 0 ? rest + chunk : chunk.slice(end);
      controller.enqueue(lines.replaceAll(/[^\r\n]*(?:\r\n|\n|\r)/g, changed));
      if (tries < MAX_TRIES && /[}\]]\s*$/.test(chunk.slice(-10))) controller.enqueue(ended());
    },
    flush(controller) {
      controller.enqueue(ended() + changed(rest) + withDigitsInData(data));
    },
  });
}

/** @param data consecutive lines of data, each with its end */
function withDigitsInData(data: string): string {
  const json = jsonOf(data);
  const kept = readableJson(json);
  if (kept === json) return data;
  // JSON that was written anew has no end of a line, without which the event would have no end.
  return `${kept.replace(/\n$/, "").replaceAll(/[^\n]+/g, "data: $&")}\n`;
}

function jsonOf(data: string): string {
  return data
    .split(/\r\n|\n|\r/)
    .map((line) => line.replace(/^data: ?/, ""))
    .join("\n");
}

/** The JSON of a message as the library can read it. What is no JSON stays as it is. */
export function readableJson(json: string): string {
  try {
    return withReadableMembers(withLongIntegersAsText(json, isOfResult));
  } catch (error) {
    // The library reports what is no JSON.
    if (error instanceof SyntaxError) return json;
    throw error;
  }
}

/** Whether a path of a response lies in a tool's structured result: the response's own, or that of a task which has ended. */
function isOfResult(path: JsonPath): boolean {
  const [result, key, inner] = typeof path[0] === "number" ? path.slice(1) : path;
  return (
    result === "result" &&
    (key === "structuredContent" || (key === "result" && inner === "structuredContent"))
  );
}
