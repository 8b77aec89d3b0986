import { EventReader, objectsIn } from "./event-stream.ts";
import { isObject } from "../../shared/contracts/json.ts";
import type { StreamEvent } from "./event-stream.ts";
import type { Format, ProviderReport } from "./provider-report.ts";

/** How long the rest of a stream is read after an error in it: usage may follow. */
const AFTER_ERROR_MS = 300;

/**
 * A provider's response, changed so that the SDK reads all of it. `report` receives what the provider reports. The SDK gets
 * events of the shape that it expects, and a stream that ends cleanly, also where the connection is cut or an error is
 * reported inside: otherwise it would drop the events before, and report a different error in each case.
 *
 * Data that is no JSON reaches the SDK as it is, so that the SDK rejects the answer: a part of it is missing.
 * @param onBytes called for everything that arrives, also for what the SDK ignores, such as a ping
 */
export function readResponse(
  response: Response,
  format: Format,
  report: ProviderReport,
  onBytes: () => void,
): Response {
  onBytes();
  if (!response.ok || response.body === null) return response;
  report.begun = true;
  const source = response.body.getReader();
  const reader = new EventReader();
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let grace: NodeJS.Timeout | undefined;

  /** What the next bytes of the source hold for the SDK; null: nothing follows. */
  const next = async (): Promise<string | null> => {
    if (report.done) return null;
    try {
      const { done, value } = await source.read();
      if (done && reader.isAtEnd) {
        report.isPage = reader.hasPage;
        return null;
      }
      if (value !== undefined) onBytes();
      const events = done ? reader.end() : reader.push(decoder.decode(value, { stream: true }));
      return events.map((event) => pass(event, format, report)).join("");
    } catch {
      // Cut, aborted, or too long: whether the answer was complete by then is in `report`.
      return null;
    }
  };

  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      let text = await next();
      while (text === "") {
        if (report.error !== undefined)
          grace ??= setTimeout(() => void source.cancel().catch(() => {}), AFTER_ERROR_MS);
        text = await next();
      }
      if (text !== null) return controller.enqueue(encoder.encode(text));
      clearTimeout(grace);
      controller.close();
      // The connection is free for the next call if the server ends its response now.
      void drain(source);
    },
    cancel: (reason) => source.cancel(reason),
  });
  return new Response(body, response);
}

function pass(event: StreamEvent, format: Format, report: ProviderReport): string {
  if (report.done || event.data.trim() === "") return "";
  if (event.data.trim() === "[DONE]") {
    report.done = true;
    return "";
  }
  const objects = objectsIn(event.data);
  if (objects === undefined) return asEvent(event.data);
  return objects
    .filter(isObject)
    .flatMap((object) => format.read(object, event.name, report))
    .filter(() => report.error === undefined)
    .map((object) => asEvent(JSON.stringify(object)))
    .join("");
}

function asEvent(data: string): string {
  return `${data
    .split("\n")
    .map((line) => `data: ${line}`)
    .join("\n")}\n\n`;
}

async function drain(source: ReadableStreamDefaultReader): Promise<void> {
  const limit = setTimeout(() => void source.cancel().catch(() => {}), AFTER_ERROR_MS);
  try {
    while (!(await source.read()).done);
  } catch {
    // The answer was complete before.
  } finally {
    clearTimeout(limit);
  }
}
