import { createServer } from "node:http";
import { respondAsLibrary } from "./library-server.ts";
import type { AddressInfo } from "node:net";

/**
 * Starts the server of the demo tool `web_search`, and at `/mcp` the MCP server `library`. Every search gets the same made-up
 * results, and each result says that it is demo data. Only `npm start` uses it. It listens on 127.0.0.1.
 * @param port 0: any free port
 */
export async function startSearchServer(port: number): Promise<{ url: string; stop(): Promise<void> }> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    if (url.pathname === "/mcp") return void respondAsLibrary(request, response);
    const query = url.searchParams.get("query");
    if (url.pathname !== "/search" || query === null) {
      response.writeHead(400, { "content-type": "application/json" });
      response.end(JSON.stringify({ error: "use GET /search?query=…" }));
      return;
    }
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ source: "demo data, no real search", query, results: resultsFor(query) }));
  });
  server.requestTimeout = 10_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("the search server has no port");
  return {
    url: searchUrl(address.port),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The URL of a search server on `port`. */
export function searchUrl(port: number): string {
  return `http://127.0.0.1:${port}`;
}

function resultsFor(query: string): { title: string; url: string; snippet: string }[] {
  return ["An overview", "Recent developments", "Open questions"].map((title, index) => ({
    title: `[demo data] ${title}: ${query.slice(0, 80)}`,
    url: `https://example.com/demo/${index + 1}`,
    snippet: `[demo data] No search was made. This is text ${index + 1} of 3 in place of a search result.`,
  }));
}
