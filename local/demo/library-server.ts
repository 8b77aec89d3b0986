import type { IncomingMessage, ServerResponse } from "node:http";
import { McpServer, createMcpHandler, inputRequired } from "@modelcontextprotocol/server";
import { z } from "zod";

const MAX_BODY_CHARS = 100_000;
const BOOKS = ["Designing durable systems", "Queues for people", "A short history of retries"];
const text = (value: string) => ({ content: [{ type: "text" as const, text: value }] });
const Reservation = z.object({ weeks: z.number().int().min(1).max(4) });

/** The demo's MCP server. It finds made-up books, and asks a person for how many weeks before it reserves one. */
const handler = createMcpHandler(() => {
  const server = new McpServer({ name: "library", version: "1" });
  server.registerTool(
    "find_books",
    { description: "Finds books of the demo library", inputSchema: z.object({ query: z.string() }) },
    async ({ query }) => text(`[demo data] Books about ${query.slice(0, 80)}: ${BOOKS.join("; ")}`),
  );
  server.registerTool(
    "reserve_book",
    {
      description: "Reserves a book of the demo library. The library asks a person for how many weeks",
      inputSchema: z.object({ title: z.string() }),
    },
    async ({ title }, { mcpReq }) => {
      const answer = z
        .object({ weeks: z.object({ action: z.string(), content: Reservation.optional() }) })
        .safeParse(mcpReq.inputResponses);
      if (!answer.success) {
        const message = `For how many weeks do you want "${title.slice(0, 80)}"?`;
        const weeks = inputRequired.elicit({ message, requestedSchema: Reservation });
        return inputRequired({ inputRequests: { weeks } });
      }
      const { action, content } = answer.data.weeks;
      if (action !== "accept" || content === undefined) return text("[demo data] Nothing was reserved.");
      return text(`[demo data] "${title}" is reserved for ${content.weeks} weeks.`);
    },
  );
  return server;
});

/** Answers one request to the MCP server. */
export async function respondAsLibrary(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let body = "";
  for await (const chunk of request) {
    body += String(chunk);
    if (body.length > MAX_BODY_CHARS) return void response.writeHead(413).end();
  }
  const headers = new Headers(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
  const method = request.method ?? "GET";
  const target = `http://${request.headers.host ?? "localhost"}/mcp`;
  const answer = await handler.fetch(new Request(target, { method, headers, ...(body !== "" && { body }) }));
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  response.flushHeaders();
  for await (const chunk of answer.body ?? []) response.write(chunk);
  response.end();
}
