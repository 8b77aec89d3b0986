import { withLongIntegersAsText } from "../../../shared/contracts/long-integers.ts";

/**
 * A response of an MCP server in which integers beyond 2^53 are texts of their digits, as in other tools' answers. The library reads
 * JSON as JavaScript's numbers, and the digits would be lost. Other responses than JSON and streams of it are returned as they are.
 */
export function keepDigits(response: Response): Response {
  const type = /^(application\/json|text\/event-stream)\b/i.exec(
    response.headers.get("content-type") ?? "",
  )?.[1];
  if (type === undefined || response.body === null) return response;
  // In a stream only the data is JSON: an event's id is what the server knows it by.
  const isJson =
    type.toLowerCase() === "application/json" ? () => true : (line: string) => line.startsWith("data:");
  const body = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(byLine((line) => (isJson(line) ? withLongIntegersAsText(line) : line)))
    .pipeThrough(new TextEncoderStream());
  const { status, statusText, headers } = response;
  return new Response(body, { status, statusText, headers });
}

/** Changes a text line by line: no number of a JSON text is divided by a line break. */
function byLine(change: (line: string) => string): TransformStream<string, string> {
  let rest = "";
  return new TransformStream({
    transform(chunk, controller) {
      const end = Math.max(chunk.lastIndexOf("\n"), chunk.lastIndexOf("\r")) + 1;
      if (end === 0) {
        rest += chunk;
        return;
      }
      const lines = rest + chunk.slice(0, end);
      rest = chunk.slice(end);
      controller.enqueue(lines.replaceAll(/[^\r\n]+/g, change));
    },
    flush(controller) {
      controller.enqueue(change(rest));
    },
  });
}
