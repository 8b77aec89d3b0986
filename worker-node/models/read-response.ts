import { EventReader, valuesIn } from "./event-stream.ts";
import { isTooLarge } from "./provider-report.ts";
import { isObject } from "../../shared/contracts/json.ts";
import type { LoopTurns } from "./loop-turns.ts";
import type { ProviderResponse } from "./call-provider.ts";
import type { StreamEvent } from "./event-stream.ts";
import type { Format, ProviderReport } from "./provider-report.ts";

/** How long the rest of a stream is read after an error in it: usage may follow. */
const AFTER_ERROR_MS = 300;
/** How long the body of a refusal is read, and how many characters of it. */
const REFUSAL_MS = 2_000;
const MAX_REFUSAL_CHARS = 1_000_000;

/**
 * What is called while a response arrives: `onBytes` for all that arrives, also for what the SDK ignores, such as a ping; `onText`
 * for text of the answer that the SDK does not get. The end of an answer waits for one of `turns`.
 */
export type AnswerListeners = { onBytes(): void; onText(text: string): void; turns: LoopTurns };

/**
 * A provider's response, changed so that the SDK reads all of it. `report` receives what the provider reports. The SDK gets
 * events of the shape that it expects. It also gets a stream that ends cleanly where the connection was cut or an error is
 * reported inside. Otherwise it would drop the events before, and report a different error in each case.
 *
 * JSON that is broken reaches the SDK as it is, so that the SDK rejects the answer: a part of it is missing. Words that are no
 * JSON are no part of an answer.
 */
export async function readResponse(
  response: ProviderResponse,
  format: Format,
  report: ProviderReport,
  { onBytes, onText, turns }: AnswerListeners,
): Promise<Response> {
  onBytes();
  const { status, headers, body: source, cancel } = response;
  if (status < 200 || status >= 300) return readRefusal(response);
  report.begun = true;
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
    // What follows would be read for nothing.
    if (isTooLarge(report)) {
      cancel();
      return null;
    }
    try {
      const { done, value } = await source.next();
      if (done === true && reader.isAtEnd) {
        if (reader.hasPage && !report.hasEvents) report.problem = NO_ANSWER;
        return null;
      }
      if (done !== true) onBytes();
      const events = done === true ? reader.end() : reader.push(decoder.decode(value, { stream: true }));
      return events.map((event) => pass(event, format, report, takeText)).join("");
    } catch (error) {
      // Cut, aborted, or too long: whether the answer was complete by then is in `report`.
      if (error instanceof RangeError) {
        report.problem = error.message;
        cancel();
      }
      return null;
    }
  };

  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      let text = await next();
      while (text === "") {
        if (report.error !== undefined) grace ??= setTimeout(() => cancel(), AFTER_ERROR_MS);
        text = await next();
      }
      if (report.finish !== undefined) await turns.next();
      if (text !== null) return controller.enqueue(encoder.encode(text));
      clearTimeout(grace);
      const rest = format.end?.(report).map((object) => asEvent(JSON.stringify(object))) ?? [];
      if (rest.length > 0) controller.enqueue(encoder.encode(rest.join("")));
      controller.close();
      // The connection is free for the next call if the server ends its response now.
      void drain(response);
    },
    cancel,
  });
  return new Response(body, { headers });
}

/**
 * A refusal for the SDK. Its status says what happened, whatever its body is: a body that is too long, too slow, cut or not encoded as it
 * says is left where it stops being readable.
 */
async function readRefusal({ status, headers, body, cancel }: ProviderResponse): Promise<Response> {
  const decoder = new TextDecoder();
  const limit = setTimeout(cancel, REFUSAL_MS);
  let text = "";
  try {
    for (let piece = await body.next(); piece.done !== true; piece = await body.next()) {
      text += decoder.decode(piece.value, { stream: true });
      if (text.length > MAX_REFUSAL_CHARS) break;
    }
  } catch {
    // The caller's signal ends the call also without this.
  } finally {
    clearTimeout(limit);
    cancel();
  }
  return new Response(text === "" ? null : text, { status, headers });
}

const NO_ANSWER = "the response is not an answer of a model: is the provider's base URL right?";
/**
 * `[DONE]` in the spellings of servers. It also ends data that has lost the empty lines between events. Linear: white space is read from
 * the start of its line alone.
 */
const DONE = /(?:^|\n)[^\S\n]*"?(?:\[done\]|done)"?$/i;

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

async function drain({ body, cancel }: ProviderResponse): Promise<void> {
  const limit = setTimeout(cancel, AFTER_ERROR_MS);
  try {
    while ((await body.next()).done !== true);
  } catch {
    // The answer was complete before.
  } finally {
    clearTimeout(limit);
  }
}
