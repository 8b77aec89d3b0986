import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { z } from "zod";
import type { JsonObject } from "../../../../shared/contracts/json.ts";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { until } from "../../../services/waiting.ts";
import { refusingStore } from "../../fakes.ts";
import { valueOf } from "./call.ts";
import { closeAfterTest } from "./close-after-test.ts";

const script = fileURLToPath(new URL("stdio-server.mjs", import.meta.url));
const Who = z.object({ pid: z.number(), env: z.array(z.string()) });

function worker() {
  const tools = new McpTools({
    egress: createEgress(""),
    // A process whose answer to the question for protocol 2026-07-28 is not read would wait for half of this.
    timeoutMs: 3_600_000,
    masterKey: null,
    stdio: { who: [process.execPath, script], broken: ["/no/such/command"] },
    store: refusingStore,
  });
  closeAfterTest(tools);
  const call = (name: string, fields: JsonObject = {}) => {
    const server = {
      name: "srv",
      server_type: "stdio",
      command: "who",
      owner: "_shared",
      version: 1,
      ...fields,
    };
    const tool = { tool_type: "mcp", name: `srv__${name}`, tool: name, description: "", server };
    return valueOf(
      tools,
      { ...tool, inputSchema: { type: "object" }, ...(name === "report" && { takes_tasks: true }) },
      {},
    );
  };
  const who = async (fields: JsonObject = {}) => Who.parse(await call("who", fields));
  return { tools, call, who };
}

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

test("a server of type stdio is one process of a tenant's calls, without the worker's environment, until the worker ends", async () => {
  const { tools, who } = worker();
  const first = await who();
  expect((await who()).pid).toBe(first.pid);
  expect((await who({ tenant: "globex" })).pid).not.toBe(first.pid);
  // Vitest sets it, as an operator sets secrets.
  expect(process.env["VITEST"]).toBeDefined();
  expect(first.env).not.toContain("VITEST");
  await tools.close();
  await until("the process has ended", () => !isRunning(first.pid));
});

test("a process that has ended is started anew, and a process that cannot be started fails only its own calls", async () => {
  const { call, who } = worker();
  const first = await who();
  await expect(call("die")).rejects.toMatchObject({ name: "RetryableError", code: "mcp_unreachable" });
  expect((await who()).pid).not.toBe(first.pid);
  await expect(who({ command: "broken", version: 2 })).rejects.toMatchObject({ code: "mcp_unreachable" });
});

// Fails when the library reads the number: it would be 12345678901234567000.
test("a long integer of a structured result keeps its digits", async () => {
  expect(await worker().call("long")).toEqual({ id: "12345678901234567890", long: "x" });
});

// Fails when the process is ended with the call that began the task: the task is gone with it.
test("a task of a process is waited for in its call", async () => {
  const { call, who } = worker();
  const { pid } = await who();
  expect(await call("report")).toBe("the report");
  expect((await who()).pid).toBe(pid);
});

// Fails when a definition can name a command that the operator has not allowed.
test("no command but the operator's is started", async () => {
  const { who } = worker();
  for (const command of ["sh", "constructor", "__proto__", ""]) {
    await expect(who({ command, version: 2 })).rejects.toMatchObject({ name: "TerminalError" });
  }
});
