import { expect, test } from "vitest";
import { createEgress } from "../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../worker-node/tools/mcp/mcp-tools.ts";
import { startSearchServer } from "../../local/demo/search-server.ts";
import { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { refusingStore } from "../worker-node/fakes.ts";

test("the demo's MCP server finds books, and asks a person before it reserves one", async () => {
  const { url, stop } = await startSearchServer(0);
  const tools = new McpTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 20_000,
    masterKey: null,
    store: refusingStore,
  });
  try {
    const server = {
      name: "library",
      server_type: "remote",
      url: `${url}/mcp`,
      owner: "_shared",
      version: 1,
    };
    const call = (tool: string, args: Record<string, string>) =>
      tools.call({
        runId: RunId.parse("run_2483e1773407_1780499750067"),
        tenantId: TenantId.parse("acme"),
        tool: {
          tool_type: "mcp",
          name: tool,
          tool,
          description: "",
          inputSchema: { type: "object" },
          server,
        },
        args,
        effectKey: "key",
        signal: new AbortController().signal,
        pending: null,
        answers: {},
      });
    expect(await call("find_books", { query: "queues" })).toMatchObject({
      value: expect.stringContaining("[demo data] Books about queues"),
    });
    expect(await call("reserve_book", { title: "Queues for people" })).toMatchObject({
      pending: { questions: [{ message: expect.stringContaining("Queues for people") }] },
    });
  } finally {
    await tools.close();
    await stop();
  }
});
