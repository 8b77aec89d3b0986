/** OpenAI's Responses API in the background mode on a local port: responses go on without a connection, and any connection gets their events. */
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { z } from "zod";

const Body = z.looseObject({ stream: z.boolean(), background: z.boolean(), store: z.boolean() });
type Event = { type: string; sequence_number: number };

/** A response, its events so far, and the connections that get the next ones. */
export class StandInResponse {
  readonly id: string;
  readonly body: z.infer<typeof Body>;
  isCancelled = false;
  readonly #events: Event[] = [];
  readonly #viewers = new Set<ServerResponse>();
  #text = "";

  constructor(id: string, body: z.infer<typeof Body>) {
    this.id = id;
    this.body = body;
    this.emit("response.created", { response: this.#whole("in_progress") });
    this.emit("response.in_progress", { response: this.#whole("in_progress") });
    const item = { id: "msg_1", type: "message", role: "assistant", status: "in_progress", content: [] };
    this.emit("response.output_item.added", { output_index: 0, item });
  }

  get connections(): number {
    return this.#viewers.size;
  }

  emit(type: string, fields: object): void {
    const event = { type, sequence_number: this.#events.length, ...fields };
    this.#events.push(event);
    for (const viewer of this.#viewers) viewer.write(written(event));
  }

  sendText(delta: string): void {
    this.#text += delta;
    this.emit("response.output_text.delta", { item_id: "msg_1", output_index: 0, content_index: 0, delta });
  }

  /** Calls a function in place of a text. */
  call(name: string, args: object): void {
    const item = { id: "fc_1", type: "function_call", call_id: "call_1", name, status: "completed" };
    const whole = JSON.stringify(args);
    this.emit("response.output_item.added", { output_index: 1, item: { ...item, arguments: "" } });
    this.emit("response.function_call_arguments.delta", { item_id: "fc_1", output_index: 1, delta: whole });
    this.emit("response.output_item.done", { output_index: 1, item: { ...item, arguments: whole } });
    this.#end("response.completed", this.#whole("completed", [{ ...item, arguments: whole }]));
  }

  complete(): void {
    const content = [{ type: "output_text", text: this.#text, annotations: [] }];
    const item = { id: "msg_1", type: "message", role: "assistant", status: "completed", content };
    this.emit("response.output_item.done", { output_index: 0, item });
    this.#end("response.completed", this.#whole("completed", [item]));
  }

  fail(code: string): void {
    this.#end("response.failed", { ...this.#whole("failed"), error: { code, message: "it failed" } });
  }

  /** Cuts its connections in the middle of the event that follows. */
  cut(): void {
    const half = written({ type: "response.output_text.delta", sequence_number: this.#events.length }).slice(
      0,
      20,
    );
    for (const viewer of this.#viewers) viewer.write(half, () => viewer.destroy());
    this.#viewers.clear();
  }

  join(viewer: ServerResponse, after: number): void {
    viewer.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of this.#events.slice(after + 1)) viewer.write(written(event));
    if (this.#hasEnded) return void viewer.end();
    this.#viewers.add(viewer);
    viewer.on("close", () => this.#viewers.delete(viewer));
  }

  get #hasEnded(): boolean {
    return /completed|failed/.test(this.#events.at(-1)?.type ?? "");
  }

  #end(type: string, response: object): void {
    this.emit(type, { response });
    for (const viewer of this.#viewers) viewer.end();
  }

  #whole(status: string, output: object[] = []): object {
    const usage = { input_tokens: 40, output_tokens: 60, total_tokens: 100 };
    const ended = status === "in_progress" ? {} : { usage };
    return { id: this.id, object: "response", created_at: 1, model: "gpt-4.1", status, output, ...ended };
  }
}

function written(event: Event): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

export class ResponsesServer {
  readonly responses: StandInResponse[] = [];
  /** Each request, as its method and its path with the query. */
  readonly requests: string[] = [];
  readonly #server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://stand-in");
    this.requests.push(`${request.method} ${url.pathname}${url.search}`);
    if (request.headers.authorization !== "Bearer k") return void response.writeHead(401).end("{}");
    let sent = "";
    request.on("data", (piece) => (sent += String(piece)));
    request.on("end", () => {
      const [id, verb] = url.pathname.split("/").slice(3);
      if (id === undefined) return this.#begin(sent, response);
      const named = this.responses.find((each) => each.id === id);
      if (named === undefined) {
        const error = { message: `Response with id '${id}' not found.`, type: "invalid_request_error" };
        return response.writeHead(404, { "content-type": "application/json" }).end(JSON.stringify({ error }));
      }
      if (verb === "cancel") {
        named.isCancelled = true;
        return response.writeHead(200, { "content-type": "application/json" }).end("{}");
      }
      return named.join(response, Number(url.searchParams.get("starting_after") ?? -1));
    });
  });

  #begin(sent: string, response: ServerResponse): void {
    const begun = new StandInResponse(`resp_${this.responses.length + 1}`, Body.parse(JSON.parse(sent)));
    this.responses.push(begun);
    begun.join(response, -1);
  }

  /** @returns its base URL */
  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return `http://127.0.0.1:${address.port}/v1`;
  }

  /** Forgets all responses, as OpenAI does after a time. */
  forget(): void {
    this.responses.length = 0;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
