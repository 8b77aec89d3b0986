import { setTimeout as sleep } from "node:timers/promises";
import { isObject, listOf, objectOf } from "../../shared/contracts/json.ts";
import { log, messageOf } from "../../shared/log.ts";
import { parseJson } from "../engine/parse-json.ts";
import type { BackgroundRequest } from "../engine/ports.ts";
import type { ProviderReport } from "./provider-report.ts";
import type { CallFetch } from "./model-access.ts";

/** The pauses before the tries to continue a stream that was cut. After as many tries without an event the stream ends. */
const RECONNECT_PAUSES_MS = [0, 250, 500, 1_000, 2_000, 4_000];
const CANCEL_TIMEOUT_MS = 10_000;
const MAX_EVENT_BYTES = 16_000_000;
/** Statuses with which the provider says that it no longer has the response, or not as a stream. */
const GONE = new Set([400, 404, 410]);

/** The provider does not have the response that a call was to get. */
export class ResponseGone extends Error {
  constructor(label: string, options: { cause: unknown }) {
    super(`${label}: the provider does not have the response any more`, options);
    this.name = "ResponseGone";
  }
}

/** Where the responses of a call are, and the headers that open them. */
type Address = { responses: string; headers: Headers };

/**
 * A model call that OpenAI makes in the background (platform.openai.com/docs/guides/background): the response goes on without a
 * connection, and a connection gets its events, beginning with the event that it names. A stream that is cut is continued after its last
 * event.
 */
export class BackgroundCall {
  readonly #request: BackgroundRequest;
  readonly #report: ProviderReport;
  readonly #fetch: CallFetch;
  #address: Address | null = null;
  #isBegun = false;
  /** True when the provider does not know the response that the call was to get. */
  isGone = false;

  constructor(request: BackgroundRequest, report: ProviderReport, callFetch: CallFetch) {
    this.#fetch = callFetch;
    this.#request = request;
    this.#report = report;
  }

  /** True when the response is known, and may not have ended. */
  get isOpen(): boolean {
    return this.#responseId !== undefined && !this.#report.done && !this.isGone;
  }

  get #responseId(): string | undefined {
    return this.#request.attachTo ?? this.#report.responseId;
  }

  /** Makes the request of the SDK: it begins a response, or gets the response that has begun, from its first event on. */
  async fetch(url: string, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    for (const name of ["content-type", "idempotency-key"]) headers.delete(name);
    this.#address = { responses: url, headers };
    const isBegun = this.#request.attachTo !== null;
    const first = isBegun
      ? await this.#events(init, undefined)
      : await this.#fetch(url, { ...init, body: inBackground(init.body) });
    this.isGone = isBegun && GONE.has(first.status);
    if (!first.ok || first.body === null) return first;
    const { status, headers: sent } = first;
    return new Response(this.#continued(first.body, init), { status, headers: sent });
  }

  /** Stops the response at the provider. A failure is logged: the response ends by itself. */
  async cancel(): Promise<void> {
    if (this.#address === null || !this.isOpen) return;
    const { responses, headers } = this.#address;
    const url = `${responses}/${this.#responseId}/cancel`;
    const signal = AbortSignal.timeout(CANCEL_TIMEOUT_MS);
    try {
      const { ok, status, body } = await this.#fetch(url, {
        method: "POST",
        headers,
        redirect: "manual",
        signal,
      });
      await body?.cancel();
      if (!ok) log.warn("model.response_not_cancelled", { response: this.#responseId, status });
    } catch (error) {
      log.warn("model.response_not_cancelled", { response: this.#responseId, message: messageOf(error) });
    }
  }

  /** Says that the response has begun, as soon as its first event is read. */
  #noteBegun(): void {
    const { responseId } = this.#report;
    if (this.#isBegun || this.#request.attachTo !== null || responseId === undefined) return;
    this.#isBegun = true;
    this.#request.onBegun(responseId);
  }

  /** The events of the response after that of this number. */
  #events({ signal }: RequestInit, after: number | undefined): Promise<Response> {
    const { responses, headers } = this.#address ?? { responses: "", headers: new Headers() };
    const query = after === undefined ? "" : `&starting_after=${after}`;
    return this.#fetch(`${responses}/${this.#responseId}?stream=true${query}`, {
      headers,
      redirect: "manual",
      ...(signal && { signal }),
    });
  }

  /** The stream, and after a cut what follows its last whole event. It ends with the response, or when the provider cannot be reached. */
  #continued(body: ReadableStream<Uint8Array>, init: RequestInit): ReadableStream<Uint8Array> {
    let source = body.getReader();
    let whole = new WholeEvents();
    let cuts = 0;
    const reconnect = async (): Promise<boolean> => {
      for (; cuts < RECONNECT_PAUSES_MS.length; cuts += 1) {
        await sleep(RECONNECT_PAUSES_MS[cuts], undefined, init.signal ? { signal: init.signal } : {});
        const response = await this.#events(init, this.#report.sequence).catch(() => null);
        if (response?.ok && response.body) {
          cuts += 1;
          source = response.body.getReader();
          whole = new WholeEvents();
          return true;
        }
        await response?.body?.cancel();
        if (response && GONE.has(response.status)) return false;
      }
      return false;
    };
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          this.#noteBegun();
          for (;;) {
            const piece = await source.read().catch(() => null);
            init.signal?.throwIfAborted();
            const events = piece?.value === undefined ? null : whole.push(piece.value);
            if (events !== null && events.length > 0) {
              cuts = 0;
              return controller.enqueue(events);
            }
            if (piece !== null && !piece.done) continue;
            if (!this.isOpen || !(await reconnect())) return controller.close();
          }
        },
        cancel: (reason) => source.cancel(reason),
      },
      // Nothing is read ahead: the number of the last event must be known before the next read.
      { highWaterMark: 0 },
    );
  }
}

const LINE_FEED = 10;
const NOTHING = new Uint8Array();

/** Holds back the beginning of an event until its end, an empty line, has come: after a cut the event comes once more. */
class WholeEvents {
  #held: Uint8Array[] = [];
  #heldBytes = 0;

  /** @throws RangeError when an event is longer than any answer */
  push(piece: Uint8Array): Uint8Array {
    const at = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength).lastIndexOf("\n\n");
    const isSplit = this.#held.at(-1)?.at(-1) === LINE_FEED && piece[0] === LINE_FEED;
    const end = at >= 0 ? at + 2 : isSplit ? 1 : 0;
    const events =
      end === 0 ? NOTHING : Uint8Array.from(Buffer.concat([...this.#held, piece.subarray(0, end)]));
    if (end > 0) this.#held = [];
    if (end > 0) this.#heldBytes = 0;
    if (end < piece.length) this.#held.push(piece.subarray(end));
    this.#heldBytes += piece.length - end;
    if (this.#heldBytes > MAX_EVENT_BYTES) throw new RangeError("an event of the answer is too long");
    return events;
  }
}

/**
 * The body of a request for a response in the background. Functions are strict there unless they say otherwise, and then refuse schemas.
 */
function inBackground(body: RequestInit["body"]): string {
  const request = typeof body === "string" ? parseJson(body) : undefined;
  if (!isObject(request)) throw new Error("the request of the Responses API is no JSON object");
  const tools = listOf(request["tools"]).map((tool) => ({ strict: false, ...objectOf(tool) }));
  const all = { ...request, background: true, store: true, ...(tools.length > 0 && { tools }) };
  return JSON.stringify(all);
}
