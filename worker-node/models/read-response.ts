import { EventReader, valuesIn } from "./event-stream.ts";
import { isObject } from "../../shared/contracts/json.ts";
import type { StreamEvent } from "./event-stream.ts";
import type { Format, ProviderReport } from "./provider-report.ts";

/** How long the rest of a stream is read after an error in it: usage may follow. */
const AFTER_ERROR_MS = 300;

/**
 * What is called while a response arrives: `onBytes` for all that arrives, also for what the SDK ignores, such as a ping; `onText`
 * for text of the answer that the SDK does not get.
 */
export type AnswerListeners = { onBytes(): void; onText(text: string): void };

/**
 * A provider's response, changed so that the SDK reads all of it. `report` receives what the provider reports. The SDK gets
 * events of the shape that it expects. It also gets a stream that ends cleanly where the connection was cut or an error is
 * reported inside. Otherwise it would drop the events before, and report a different error in each case.
 *
 * JSON that is broken reaches the SDK as it is, so that the SDK rejects the answer: a part of it is missing. Words that are no
 * JSON are no part of an answer.
 */
export function readResponse(
  response: Response,
  format: Format,
  report: ProviderReport,
  { onBytes, onText }: AnswerListeners,
): Response {
  onBytes();
  if (!response.ok) return response;
  report.begun = true;
  if (response.body === null) return response;
  const source = response.body.getReader();
  const reader = new EventReader();
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let grace: NodeJS.Timeout | undefined;
  const takeText = (text: string): void => {
    noteAnswer(report);
    onText(text);
  };

  /** What the next bytes of the source hold for the SDK; null: nothing follows. */
  const next = async (): Promise<string | null> => {
    if (report.done) return null;
    try {
      const { done, value } = await source.read();
      if (done && reader.isAtEnd) {
        if (reader.hasPage && !report.hasEvents) report.problem = NO_ANSWER;
        return null;
      }
      if (value !== undefined) onBytes();
      const events = done ? reader.end() : reader.push(decoder.decode(value, { stream: true }));
      return events.map((event) => pass(event, format, report, takeText)).join("");
    } catch (error) {
      // Cut, aborted, or too long: whether the answer was complete by then is in `report`.
      if (error instanceof RangeError) {
        report.problem = error.message;
        void source.cancel().catch(() => {});
      }
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
      const rest = format.end?.(report).map((object) => asEvent(JSON.stringify(object))) ?? [];
      if (rest.length > 0) controller.enqueue(encoder.encode(rest.join("")));
      controller.close();
      // The connection is free for the next call if the server ends its response now.
      void drain(source);
    },
    cancel: (reason) => source.cancel(reason),
  });
  return new Response(body, response);
}

const NO_ANSWER = "the response is not an answer of a model: is the provider's base URL right?";
/** `[DONE]` in the spellings of servers. It also ends data that has lost the empty lines between events. */
const DONE = /(?:^|\n)\s*"?(?:\[done\]|done)"?$/i;

function pass(
  event: StreamEvent,
  format: Format,
  report: ProviderReport,
  onText: (text: string) => void,
): string {
  if (report.done) return "";
  const text = event.data.trim();
  const data = text.replace(DONE, "");
  const passed = data === "" ? "" : passData({ data, name: event.name }, format, report, onText);
  if (data !== text) report.done = true;
  return passed;
}

function passData(
  { data, name }: StreamEvent,
  format: Format,
  report: ProviderReport,
  onText: (text: string) => void,
): string {
  const values = valuesIn(data);
  const objects = values?.filter(isObject) ?? [];
  if (name === "error" && objects.length === 0) {
    report.error ??= data;
    return "";
  }
  if (values === undefined) {
    if (/[{}[\]]/.test(data)) return asEvent(data);
    // "connected", "pong", "stream ended": no part of an answer, and no answer by themselves.
    if (!report.hasEvents) report.problem = NO_ANSWER;
    return "";
  }
  const read = objects.flatMap((object) => format.read(object, name, report, onText));
  if (read.length > 0) noteAnswer(report);
  return report.error === undefined ? read.map((object) => asEvent(JSON.stringify(object))).join("") : "";
}

/** An event of an answer has come. */
function noteAnswer(report: ProviderReport): void {
  report.hasEvents = true;
  report.problem = undefined;
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
