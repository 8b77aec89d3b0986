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

/** Changes the JSON of each event, which may have several lines of data. Each line is read once. */
function ofEvents(): TransformStream<string, string> {
  let rest = "";
  let data = "";
  const changed = (line: string): string => {
    // A chunk may end between the two characters of a line's end.
    if (line.startsWith("data:") || (line === "\n" && data.endsWith("\r"))) {
      data += line;
      return "";
    }
    const before = withDigitsInData(data);
    data = "";
    return before + line;
  };
  return new TransformStream({
    transform(chunk, controller) {
      const end = Math.max(chunk.lastIndexOf("\n"), chunk.lastIndexOf("\r")) + 1;
      if (end === 0) {
        rest += chunk;
        return;
      }
      const lines = rest + chunk.slice(0, end);
      rest = chunk.slice(end);
      controller.enqueue(lines.replaceAll(/[^\r\n]*(?:\r\n|\n|\r)/g, changed));
    },
    flush(controller) {
      controller.enqueue(changed(rest) + withDigitsInData(data));
    },
  });
}

/** @param data consecutive lines of data, each with its end */
function withDigitsInData(data: string): string {
  const json = data
    .split(/\r\n|\n|\r/)
    .map((line) => line.replace(/^data: ?/, ""))
    .join("\n");
  const kept = readableJson(json);
  if (kept === json) return data;
  // JSON that was written anew has no end of a line, without which the event would have no end.
  return `${kept.replace(/\n$/, "").replaceAll(/[^\n]+/g, "data: $&")}\n`;
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
