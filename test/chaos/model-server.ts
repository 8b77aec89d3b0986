/** A model provider in OpenAI's wire format that counts its calls by key, and fails at random. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ServerResponse } from "node:http";
import { z } from "zod";
import { serveCounted } from "./counted-server.ts";
import type { Counted } from "./counted-server.ts";
import type { Random } from "./random.ts";

const ModelRequest = z.object({
  model: z.string(),
  messages: z.array(z.object({ role: z.string(), content: z.unknown() }).loose()),
  tools: z.array(z.unknown()).optional(),
});
type ModelRequest = z.infer<typeof ModelRequest>;

const PIECES = 6;

/**
 * Models: `gpt-4.1-mini` answers (or calls an offered tool, once). `o3` takes seconds. `o4-mini` refuses the first call
 * with `Retry-After: 6`, which is longer than a run may keep its slot. `gpt-4o` refuses every call permanently.
 */
export function startModelServer(random: Random): Promise<Counted> {
  const refusedVisits = new Set<string>();
  return serveCounted(async (request, body, response) => {
    const call = ModelRequest.parse(JSON.parse(body));
    if (call.model === "gpt-4o") return refuse(response, 400, {});
    const visit = request.key.split(":").slice(0, 3).join(":");
    // Without faults it refuses none: its refusals open the circuit of the provider's model, which closes with an answer.
    if (call.model === "o4-mini" && !request.calm && !refusedVisits.has(visit)) {
      refusedVisits.add(visit);
      return refuse(response, 429, { "retry-after": "6" });
    }
    if (request.calm) return answer(call, response, 10, false);
    if (random.chance(0.05)) return refuse(response, 429, { "retry-after": "1" });
    if (random.chance(0.05)) return refuse(response, 500, {});
    const pieceMs = call.model === "o3" ? random.between(300, 900) : random.between(10, 60);
    return answer(call, response, pieceMs, random.chance(0.04));
  });
}

function refuse(response: ServerResponse, status: number, headers: Record<string, string>): string {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ error: { message: "not now", type: "chaos", code: status } }));
  return "refused";
}

/** @param cut ends the connection in the middle of the response. */
async function answer(
  call: ModelRequest,
  response: ServerResponse,
  pieceMs: number,
  cut: boolean,
): Promise<string> {
  const send = (delta: object, fields: object = {}): void => {
    const choices = [{ index: 0, delta, finish_reason: null, ...fields }];
    const chunk = { id: "chaos", object: "chat.completion.chunk", created: 1, model: call.model, choices };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  response.writeHead(200, { "content-type": "text/event-stream" });
  const callsTool = (call.tools?.length ?? 0) > 0 && !call.messages.some(({ role }) => role === "tool");
  for (let piece = 1; piece <= PIECES; piece++) {
    send({ role: "assistant", content: `piece ${piece} ` });
    await sleep(pieceMs);
    if (cut && piece === 3) {
      response.destroy();
      return "cut";
    }
  }
  if (callsTool) {
    const toolCall = {
      index: 0,
      id: "call_1",
      type: "function",
      function: { name: "note_down", arguments: `{"text":"x"}` },
    };
    send({ tool_calls: [toolCall] });
  }
  send({}, { finish_reason: callsTool ? "tool_calls" : "stop" });
  const usage = { prompt_tokens: 100, completion_tokens: 20, total_tokens: 120 };
  response.write(
    `data: ${JSON.stringify({ id: "chaos", object: "chat.completion.chunk", created: 1, model: call.model, choices: [], usage })}\n\n`,
  );
  response.end("data: [DONE]\n\n");
  return "answered";
}
