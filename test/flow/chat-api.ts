/** An API whose models answer from a local server: at once, or, for messages that begin with `hold`, when the test says so. */
import type { ServerResponse } from "node:http";
import { z } from "zod";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { bodyOf } from "../edge/app.ts";
import { until } from "../services/waiting.ts";
import { Viewer } from "../services/viewer.ts";
import { chunk, ProviderServer, text } from "../worker-node/models/provider-server.ts";
import type { ProviderRequest } from "../worker-node/models/provider-server.ts";
import { startApi } from "./api.ts";
import type { FlowApi } from "./api.ts";

const Turn = z.object({ session_id: z.string(), turn_id: z.string() });
const Session = z.looseObject({
  status: z.string(),
  turn_id: z.string(),
  messages: z.array(z.looseObject({ role: z.string(), content: z.string(), cut: z.boolean() })),
});
const Part = z.looseObject({ text: z.string().default("") });
const Said = z.object({ content: z.union([z.string(), z.array(Part)]) });

/** The text of a request's last message. */
export function lastSaid({ body }: ProviderRequest): string {
  const { content } = Said.parse(body.messages.at(-1));
  return typeof content === "string" ? content : content.map((part) => part.text).join("");
}

export class ChatApi {
  readonly api: FlowApi;
  readonly provider: ProviderServer;
  /** Answers that have begun and not ended, by the message that they answer: those to messages that begin with `hold`. */
  readonly held = new Map<string, ServerResponse>();
  /** The most requests that were open at once. */
  mostAtOnce = 0;
  #open = 0;

  private constructor(api: FlowApi, provider: ProviderServer) {
    this.api = api;
    this.provider = provider;
  }

  static async start(): Promise<ChatApi> {
    const provider = new ProviderServer();
    await provider.start();
    const chat = new ChatApi(await startApi(), provider);
    provider.reset((response, request) => chat.#answer(response, request));
    const agent = { name: "Helper", system_prompt: "You help.", model: "openai-compatible/m1", tools: [] };
    await chat.api.define("agents", "helper", agent);
    return chat;
  }

  worker(id: string, env: Record<string, string> = {}) {
    const provider = { OPENAI_COMPATIBLE_BASE_URL: `${this.provider.url}/v1`, EGRESS_ALLOW: "127.0.0.1" };
    return this.api.startWorker(id, { ...provider, ...env });
  }

  #answer(response: ServerResponse, request: ProviderRequest): void {
    const said = lastSaid(request);
    this.#open += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#open);
    response.on("close", () => (this.#open -= 1));
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (!said.startsWith("hold")) {
      response.end(text(`You said: ${said}`));
      return;
    }
    response.write(chunk({ content: `So far of ${said}` }));
    this.held.set(said, response);
    response.on("close", () => this.held.delete(said));
  }

  async post(body: JsonObject, headers: Record<string, string> = {}): Promise<Response> {
    return this.api.call("POST", "/api/v2/chat", { body, headers });
  }

  async say(body: JsonObject) {
    const answer = await this.post(body);
    if (answer.status !== 202) throw new Error(`POST answered ${answer.status}: ${await answer.text()}`);
    return Turn.parse(await answer.json());
  }

  async get(session: string, rest = "status") {
    return this.api.call("GET", `/api/v2/chat/${session}/${rest}`);
  }

  async session(session: string) {
    return Session.parse(await bodyOf(await this.get(session)));
  }

  /** The session's history in the API, one line for each message: `role: content`, with `(cut)` after a cut answer. */
  async history(session: string): Promise<string[]> {
    const { messages } = await this.session(session);
    return messages.map(({ role, content, cut }) => `${role}: ${content}${cut ? " (cut)" : ""}`);
  }

  untilHeld(said: string): Promise<void> {
    return until(`the model answers "${said}"`, () => this.held.has(said));
  }

  /** Watches the session's newest turn to its end. */
  async watch(session: string, headers: Record<string, string> = {}): Promise<Viewer> {
    const path = `/api/v2/chat/${session}/stream`;
    const viewer = new Viewer(await this.api.call("GET", path, { headers }));
    await viewer.end();
    return viewer;
  }

  async stop(): Promise<void> {
    await this.api.stop();
    this.provider.stop();
  }
}
