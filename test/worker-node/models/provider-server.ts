/** A provider on a local port that answers with the bytes of a script, and records its requests. */
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { z } from "zod";
import { slowPeer } from "../../services/waiting.ts";
import type { ProviderGate } from "../../../worker-node/models/provider-gate.ts";
import type { TenantKeys } from "../../../worker-node/models/tenant-keys.ts";
import { createModels } from "../../../worker-node/models/create-models.ts";

const RequestBody = z.looseObject({
  messages: z.array(z.looseObject({ role: z.string() })).default([]),
  tool_choice: z.unknown().optional(),
});

export type ProviderRequest = {
  path: string;
  body: z.infer<typeof RequestBody>;
  headers: Readonly<Record<string, unknown>>;
  atMs: number;
};

/** An answer of a script. Requests beyond the script get its last answer. */
export type Answer = string | Reply;
type Reply = (response: ServerResponse, request: ProviderRequest) => void;

export class ProviderServer {
  readonly requests: ProviderRequest[] = [];
  script: Answer[] = [];
  readonly #server = createServer((request, response) => {
    let sent = "";
    request.on("data", (piece) => (sent += String(piece)));
    request.on("end", () => {
      const received = {
        path: request.url ?? "",
        body: RequestBody.parse(JSON.parse(sent)),
        headers: request.headers,
        atMs: performance.now(),
      };
      this.requests.push(received);
      const answer = this.script[Math.min(this.requests.length, this.script.length) - 1] ?? "";
      if (typeof answer === "function") return answer(response, received);
      response.writeHead(200, { "content-type": "text/event-stream" });
      return response.end(answer);
    });
  });

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  reset(...script: Answer[]): void {
    this.requests.length = 0;
    this.script = script;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return `http://127.0.0.1:${address.port}`;
  }

  /** The models of a worker that finds every provider here. */
  models(
    silenceMs = 10_000,
    gate: ProviderGate | null = null,
    tenantKeys: TenantKeys | null = null,
  ): ReturnType<typeof createModels> {
    const { url } = this;
    return createModels(
      {
        OPENAI_API_KEY: "k",
        OPENAI_BASE_URL: `${url}/v1`,
        ANTHROPIC_API_KEY: "k",
        ANTHROPIC_BASE_URL: `${url}/v1`,
        GEMINI_API_KEY: "k",
        GOOGLE_BASE_URL: `${url}/v1beta`,
        OLLAMA_BASE_URL: url,
        OPENAI_COMPATIBLE_BASE_URL: `${url}/v1`,
        DEFAULT_MODEL: oc,
      },
      silenceMs,
      () => new Map(),
      gate,
      tenantKeys,
    );
  }
}

/** A model of each format, by the beginning of its provider's name: of a server like OpenAI's, OpenAI, Anthropic and Google. */
export const oc = "openai-compatible/m1";
export const oa = "openai/gpt-4.1";
export const an = "anthropic/claude-haiku-4-5";
export const go = "google/gemini-2.5-flash";

/** An HTTP answer that is no stream. */
export function refusal(status: number, body: object | string, headers: Record<string, string> = {}): Reply {
  return (response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };
}

/** A stream whose connection is destroyed after `body`. */
export function cut(body: string): Answer {
  return (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(body, () => void slowPeer(20).then(() => response.destroy()));
  };
}

export function event(data: unknown, name?: string): string {
  return `${name === undefined ? "" : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`;
}

// OpenAI's format.
export const DONE = "data: [DONE]\n\n";
export function chunk(delta: object, finish: string | null = null, fields: object = {}): string {
  const choices = [{ index: 0, delta, finish_reason: finish }];
  return event({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", choices, ...fields });
}
export function counts(prompt_tokens: number, completion_tokens: number, fields: object = {}): string {
  return event({
    id: "c",
    object: "chat.completion.chunk",
    created: 1,
    model: "m",
    choices: [],
    usage: { prompt_tokens, completion_tokens },
    ...fields,
  });
}
export function text(content = "fine", usage = ""): string {
  return chunk({ content }) + chunk({}, "stop") + usage + DONE;
}
export function callChunk(args: unknown, fields: object = {}): string {
  const made = { index: 0, id: "k1", type: "function", function: { name: "lookup", arguments: args } };
  return chunk({ tool_calls: [{ ...made, ...fields }] });
}
export function call(args: unknown, usage = ""): string {
  return callChunk(args) + chunk({}, "tool_calls") + usage + DONE;
}

// Anthropic's format.
export function anthropicEvent(type: string, fields: object = {}): string {
  return event({ type, ...fields }, type);
}
export function anthropicStart(usage: object = { input_tokens: 3, output_tokens: 1 }): string {
  const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage };
  return anthropicEvent("message_start", { message });
}
export function anthropicBlock(index: number, content_block: object, ...deltas: object[]): string {
  return [
    anthropicEvent("content_block_start", { index, content_block }),
    ...deltas.map((delta) => anthropicEvent("content_block_delta", { index, delta })),
    anthropicEvent("content_block_stop", { index }),
  ].join("");
}
export function anthropicText(content: string, index = 0): string {
  return anthropicBlock(index, { type: "text", text: "" }, { type: "text_delta", text: content });
}
export function anthropicEnd(stop_reason = "end_turn", usage: object = { output_tokens: 2 }): string {
  return (
    anthropicEvent("message_delta", { delta: { stop_reason, stop_sequence: null }, usage }) +
    anthropicEvent("message_stop")
  );
}

// Google's format.
export function googleChunk(parts: object[], finishReason?: string, fields: object = {}): string {
  const candidate = { content: { role: "model", parts }, index: 0 };
  return event({
    candidates: [finishReason === undefined ? candidate : { ...candidate, finishReason }],
    ...fields,
  });
}

/** Half an answer in the format of each provider: a stream may go on with anything. */
export function half(model: string, content = "Half "): string {
  if (model === an) {
    const start = { index: 0, content_block: { type: "text", text: "" } };
    const delta = { index: 0, delta: { type: "text_delta", text: content } };
    return (
      anthropicStart() +
      anthropicEvent("content_block_start", start) +
      anthropicEvent("content_block_delta", delta)
    );
  }
  return model === go ? googleChunk([{ text: content }]) : chunk({ content });
}

/** A whole answer in the format of each provider. */
export function whole(model: string, content: string): string {
  if (model === an) return anthropicStart() + anthropicText(content) + anthropicEnd();
  return model === go ? googleChunk([{ text: content }], "STOP") : text(content);
}

/** The retry policy of the tests' steps: three tries with short waits. */
export const retry = { attempts: 3, base_seconds: 0.1, max_seconds: 1 };
