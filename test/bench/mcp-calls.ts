import { createEgress } from "../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../worker-node/tools/mcp/mcp-tools.ts";
import { refusingStore } from "../worker-node/fakes.ts";
import { valueOf } from "../worker-node/tools/mcp/call.ts";
import { newServer, oldServer } from "../worker-node/tools/mcp/servers.ts";
import { timed } from "./stats.ts";
import type { Row } from "./stats.ts";

const CALLS = 500;

/**
 * The processor time of a call of an MCP tool, of the worker's part and the server's together, one call after another as in a run, and
 * how many connections it opens. The servers are those of the official packages, on this machine: a network adds a round trip for
 * each connection, and two or three with TLS.
 */
export async function benchMcpCalls(): Promise<Row[]> {
  return [
    ...(await callsOf("protocol 2026-07-28", await newServer())),
    ...(await callsOf("2025-11-25", await oldServer())),
  ];
}

async function callsOf(
  protocol: string,
  server: Awaited<ReturnType<typeof newServer | typeof oldServer>>,
): Promise<Row[]> {
  const tools = new McpTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 10_000,
    masterKey: null,
    store: refusingStore,
  });
  const storedServer = { name: "srv", server_type: "remote", url: server.url, owner: "acme", version: 1 };
  const tool = { tool_type: "mcp", name: "srv__add", tool: "add", description: "", server: storedServer };
  const call = () => valueOf(tools, { ...tool, inputSchema: { type: "object" } }, { a: 2, b: 3 });
  try {
    await timed(50, call);
    const before = server.connections();
    const cpu = process.cpuUsage();
    await timed(CALLS, call);
    const { user, system } = process.cpuUsage(cpu);
    return [
      { what: `MCP call, ${protocol}`, figure: (user + system) / CALLS, unit: "µs CPU" },
      { what: "  connections for each", figure: (server.connections() - before) / CALLS, unit: "" },
    ];
  } finally {
    await tools.close();
    await server.close();
  }
}
