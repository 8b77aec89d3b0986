/** The hostile server: tools and models that answer slowly, without end, with garbage or not at all, and a receiver that hangs. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { log } from "../../../shared/log.ts";

const PIECE_BYTES = 64 * 1024;
const GIB = 1024 ** 3;
const HUGE_EVENT_BYTES = 64 * 1024 * 1024;
const DRIP_MS = 200;
const ENDLESS_MS = 2;

const Asked = z.object({ model: z.string() });

type Answer = (response: ServerResponse) => Promise<void> | void;

const tools: Record<string, Answer> = {
  mute: () => {},
  drip: async (response) => {
    response.writeHead(200, { "content-type": "application/json" });
    for (; !response.destroyed; await sleep(DRIP_MS)) response.write(" ");
  },
  flood: async (response) => {
    response.writeHead(200, { "content-type": "application/json" });
    await pour(response, Buffer.alloc(PIECE_BYTES, "["), GIB / PIECE_BYTES);
    response.end();
  },
};

const chunk = (content: string): string => {
  const choices = [{ index: 0, delta: { role: "assistant", content }, finish_reason: null }];
  const fields = { id: "hostile", object: "chat.completion.chunk", created: 1, model: "hostile", choices };
  return `data: ${JSON.stringify(fields)}\n\n`;
};

const models: Record<string, Answer> = {
  mute: () => {},
  garbage: async (response) => {
    const bytes = randomBytes(PIECE_BYTES / 2).toString("latin1");
    const lines = `data: {"choices":[{"delta":\n\ndata: null\n\nid: ${bytes}\n\ndata: ${bytes}\n\n:\n\n`;
    await pour(response, lines, 500);
    response.end();
  },
  huge: async (response) => {
    response.write(`data: {"choices":[{"index":0,"delta":{"content":"`);
    await pour(response, Buffer.alloc(PIECE_BYTES, "x"), HUGE_EVENT_BYTES / PIECE_BYTES);
    response.end(`"}}]}\n\ndata: [DONE]\n\n`);
  },
  endless: async (response) => {
    for (; !response.destroyed; await sleep(ENDLESS_MS)) response.write(chunk("and so on "));
  },
};

/** Writes `piece` so many times, as fast as the caller reads. */
async function pour(response: ServerResponse, piece: string | Buffer, times: number): Promise<void> {
  const closed = new AbortController();
  response.once("close", () => closed.abort());
  for (let written = 0; written < times && !response.destroyed; written++) {
    if (response.write(piece)) continue;
    await once(response, "drain", { signal: closed.signal }).catch(() => {});
  }
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [, what = "", name = ""] = (request.url ?? "").split("/");
  const body = await text(request);
  if (what === "tool") return tools[name]?.(response);
  if (what === "hook") return;
  const { model } = Asked.parse(JSON.parse(body));
  if (model !== "mute") response.writeHead(200, { "content-type": "text/event-stream" });
  return models[model]?.(response);
}

const server = createServer((request, response) => {
  response.on("error", () => {});
  void serve(request, response).catch(() => response.destroy());
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const address = server.address();
const port = typeof address === "object" && address !== null ? address.port : 0;
log.info("hostile_server.listening", { port });
process.once("SIGTERM", () => process.exit(0));
