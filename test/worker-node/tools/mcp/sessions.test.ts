import { describe, expect, test } from "vitest";
import { z } from "zod";
import { McpListing } from "../../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../../shared/contracts/json.ts";
import type { McpListed, McpServerVersion } from "../../../../shared/store/definitions/mcp-servers.ts";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { valueOf } from "./call.ts";
import { until } from "../../../services/waiting.ts";
import { refusingStore } from "../../fakes.ts";
import { newServer, oldServer } from "./servers.ts";
import { closeAfterTest, started } from "./close-after-test.ts";

/** A worker's MCP tools. `rows`: what is stored of the servers at present. */
function worker(rows: McpServerVersion[] = []) {
  const saved: McpListed[] = [];
  const tools = new McpTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 120_000,
    masterKey: null,
    store: {
      ...refusingStore,
      readMcpVersions: async (names) =>
        rows.filter((row) => names.some(({ owner, id }) => owner === row.owner && id === row.id)),
      saveMcpListing: async (found) => {
        saved.push(found);
        return null;
      },
    },
  });
  closeAfterTest(tools);
  const call = (
    url: string,
    name: string,
    args: JsonObject = {},
    fields: JsonObject = {},
    signal?: AbortSignal,
  ): Promise<Json> => {
    const server = { name: "srv", server_type: "remote", url, owner: "acme", version: 1, ...fields };
    const tool = { tool_type: "mcp", name: `srv__${name}`, tool: name, description: "", server };
    return valueOf(tools, { ...tool, inputSchema: { type: "object" } }, args, signal);
  };
  const add = (url: string, fields: JsonObject = {}) => call(url, "add", { a: 2, b: 3 }, fields);
  const listedTools = () =>
    saved.flatMap(({ listing }) =>
      listing === null ? [] : [McpListing.parse(JSON.parse(listing)).tools.map(({ tool }) => tool)],
    );
  return { tools, call, add, saved, listedTools };
}

// The reason is that of the notice: a session that only ends has another one.
test("a call that is aborted is cancelled at its server of protocol 2025-11-25", async () => {
  const { url, hanging } = await started(oldServer());
  const cancelling = new AbortController();
  const called = worker().call(url, "hang", {}, {}, cancelling.signal);
  await hanging.begins;
  cancelling.abort(new Error("the run is cancelled"));
  await expect(called).rejects.toThrow("the run is cancelled");
  expect(hanging.reasons).toEqual(["Error: the run is cancelled"]);
});

describe("the calls of a worker to a server with sessions", () => {
  test("use one session after the other calls have ended, and two beside each other", async () => {
    const server = await started(oldServer());
    const { add } = worker();
    expect([await add(server.url), await add(server.url)]).toEqual([{ sum: 5 }, { sum: 5 }]);
    expect(server.begun).toHaveLength(1);
    await Promise.all([add(server.url), add(server.url)]);
    expect(server.begun).toHaveLength(2);
  });

  // Fails when the key of a connection leaves one of these out.
  test("share no session between tenants, owners, or versions of a row", async () => {
    const server = await started(oldServer());
    const { add } = worker();
    await add(server.url, { owner: "_shared", tenant: "acme" });
    await add(server.url, { owner: "_shared", tenant: "globex" });
    await add(server.url, { owner: "acme", tenant: "acme" });
    await add(server.url, { owner: "acme", tenant: "acme", version: 2 });
    expect(server.begun).toHaveLength(4);
    await add(server.url, { owner: "_shared", tenant: "globex" });
    expect(server.begun).toHaveLength(4);
  });

  test("begin a new session, once, when the server has lost the kept session", async () => {
    const server = await started(oldServer());
    const { add } = worker();
    await add(server.url);
    server.sessions.clear();
    expect(await add(server.url)).toEqual({ sum: 5 });
    expect(server.begun).toHaveLength(2);
    // A server that loses every session at once is no endless loop.
    const forgetful = await started(oldServer());
    forgetful.forgetAfter.delete = (method) => method === "tools/call";
    await expect(add(forgetful.url, { name: "forgetful" })).rejects.toMatchObject({ name: "ToolRejection" });
    expect(forgetful.begun).toHaveLength(2);
  });

  test("go on in the same session after a refusal, and in another one after a failure", async () => {
    const server = await started(oldServer());
    const { add, call } = worker();
    await add(server.url);
    await expect(call(server.url, "add", { a: "x" })).rejects.toMatchObject({ name: "ToolRejection" });
    await add(server.url);
    expect(server.begun).toHaveLength(1);
  });

  // Fails when a revoked server's session, with its credentials, outlives the row.
  test("end the sessions of a row that has changed or is gone, and no others", async () => {
    const server = await started(oldServer());
    const rows = [
      { owner: "acme", id: "srv", version: 1 },
      { owner: "acme", id: "other", version: 1 },
      { owner: "acme", id: "gone", version: 1 },
    ];
    const { add, tools } = worker(rows);
    await add(server.url);
    await add(server.url, { name: "other" });
    await add(server.url, { name: "gone" });
    await tools.pool.check();
    expect(server.sessions.size).toBe(3);
    rows.splice(0, 3, { owner: "acme", id: "srv", version: 2 }, { owner: "acme", id: "other", version: 1 });
    await tools.pool.check();
    expect([...server.sessions.keys()]).toEqual([server.begun[1]]);
  });

  test("keep at most 16 sessions of a tenant, and end none of another tenant", async () => {
    const server = await started(oldServer());
    const { add } = worker();
    await add(server.url, { tenant: "globex" });
    const calls = Array.from({ length: 20 }, (_, i) => add(server.url, { tenant: "acme", name: `s${i}` }));
    await Promise.all(calls);
    expect(server.sessions.size).toBe(17);
    expect(server.sessions.has(server.begun[0] ?? "")).toBe(true);
  });
});

describe("a server whose tools change", () => {
  test("of the older protocol is listed again at its notice", async () => {
    const server = await started(oldServer());
    const { add, listedTools } = worker();
    await add(server.url);
    await until("the stream of notices is open", () =>
      server.received.some(({ method }) => method === "GET"),
    );
    // Registering a tool sends the notice.
    server.servers[0]?.registerTool("late", {}, async () => ({ content: [] }));
    await until("the server is listed", () => listedTools().length > 0);
    expect(listedTools()[0]).toEqual(["add", "ask", "hang", "late"]);
  });

  test("of protocol 2026-07-28 is listed again at its notice, and a call to a removed tool fails with the name of the tool", async () => {
    const server = await started(newServer());
    const { add, call, listedTools } = worker();
    await add(server.url);
    server.change((registering) => {
      registering.registerTool("late", { inputSchema: z.object({}) }, async () => ({ content: [] }));
    });
    await until("the server is listed", () => listedTools().length > 0);
    expect(listedTools()[0]).toContain("late");
    expect(await call(server.url, "late")).toBe("");
    server.change(() => {});
    await expect(call(server.url, "late")).rejects.toMatchObject({
      name: "ToolRejection",
      code: "tool_vanished",
      message: "the MCP server srv no longer has the tool late",
    });
    expect(listedTools().at(-1)).not.toContain("late");
  });
});
