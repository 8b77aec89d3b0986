import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { openTool, sealedNameOfServer } from "../../../shared/security/sealed-tool.ts";
import {
  claimMcpListings,
  readMcpServer,
  saveMcpListing,
} from "../../../shared/store/definitions/mcp-servers.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { bodyOf, startApp } from "../app.ts";
import type { TestApp } from "../app.ts";
import { MASTER_KEY } from "../test-stores.ts";

const key = masterKey().parse(MASTER_KEY);
const MASK = "********";
let app: TestApp;

beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
});
afterAll(() => app.stop());

const url = "https://mcp.example.com/mcp";
const put = async (name: string, body: object, withKey?: string) => {
  const answer = await app.call("PUT", `/api/v2/mcp-servers/${name}`, {
    body,
    ...(withKey !== undefined && { key: withKey }),
  });
  return { status: answer.status, body: await bodyOf(answer) };
};
const shown = async (name: string, withKey?: string) => {
  const answer = await app.call(
    "GET",
    `/api/v2/mcp-servers/${name}`,
    withKey === undefined ? {} : { key: withKey },
  );
  return { status: answer.status, body: await bodyOf(answer) };
};
const listing = (names: string[]) =>
  JSON.stringify({
    tools: names.map((tool) => ({
      name: `gh__${tool}`,
      tool,
      description: tool,
      inputSchema: { type: "object" },
    })),
    left_out: [{ tool: "odd", reason: "its inputSchema is odd" }],
  });

describe("an MCP server", () => {
  test("is saved as the predecessor exports it, with its token sealed, and is listed, read and deleted", async () => {
    const saved = await put("github", {
      label: "Github",
      name: "github",
      server_type: "remote",
      url,
      token: "sesame-1234",
    });
    expect(saved).toMatchObject({ status: 200, body: { id: "github", version: 1 } });
    const { body } = await shown("github");
    expect(body).toMatchObject({
      name: "github",
      url,
      headers: { Authorization: MASK },
      listing: { state: "pending", tools: [] },
    });
    expect(JSON.stringify(body)).not.toMatch(/sesame|sealed/);
    const [row] = await app.stores.sql<
      { definition: string }[]
    >`select definition from mcp_servers where id = 'github'`;
    expect(row?.definition).not.toContain("sesame");
    const stored = z.record(z.string(), z.unknown()).parse(JSON.parse(row?.definition ?? ""));
    expect(await openTool(key, { owner: "", name: sealedNameOfServer("github") }, stored)).toMatchObject({
      headers: { Authorization: "Bearer sesame-1234" },
    });
    // What GET answers can be sent back as it is: the secret stays.
    expect(await put("github", body)).toMatchObject({ status: 200, body: { version: 2 } });
    const moved = await put("github", { ...body, url: "https://evil.example.com/mcp" });
    expect(moved).toMatchObject({ status: 422, body: { errors: [{ path: "headers.Authorization" }] } });
    const list = await (await app.call("GET", "/api/v2/mcp-servers")).json();
    expect(list).toMatchObject([{ id: "github", name: "Github" }]);
    expect((await app.call("DELETE", "/api/v2/mcp-servers/github")).status).toBe(204);
    expect((await shown("github")).status).toBe(404);
  });

  test("keeps the secret of its OAuth client sealed", async () => {
    const oauth = {
      issuer: "https://auth.example.com",
      client_id: "me",
      client_secret: "sesame-1234",
      scope: "",
    };
    expect(await put("with-oauth", { url, oauth })).toMatchObject({ status: 200 });
    const { body } = await shown("with-oauth");
    expect(body).toMatchObject({ oauth: { ...oauth, client_secret: MASK } });
    expect(await put("with-oauth", body)).toMatchObject({ status: 200 });
  });

  test.each([
    [{}, "url"],
    [{ url: "ftp://x.example.com" }, "url"],
    [{ url: "https://me:pw@x.example.com" }, "url"],
    [{ url, token: "t", headers: { authorization: "x" } }, "token"],
    [
      { url, token: "t", oauth: { issuer: "https://a.example.com", client_id: "c", client_secret: "s" } },
      "oauth",
    ],
    [{ url, headers: { "a b": "x" } }, "headers.a b"],
    [{ url, urll: "x" }, "urll"],
    [{ server_type: "stdio", command: "npx -y server" }, "command"],
    [{ server_type: "stdio", command: "files", url }, "url"],
    [{ url, command: "files" }, "command"],
    [{ url, enabled: false }, "enabled"],
  ])("is refused when it is %j, by the path of the field", async (body, path) => {
    const answer = await put("wrong", body);
    expect(answer.status).toBe(422);
    expect(JSON.stringify(answer.body["errors"])).toContain(`"path":"${path}"`);
  });

  test.each(["a__b", "1a", "a_", "x".repeat(33)])(
    "cannot have the name %s, in which no tool would fit",
    async (name) => {
      expect((await put(name, { url })).status).toBe(422);
    },
  );

  test("of one tenant does not exist for another, and needs the scope", async () => {
    const acme = await app.stores.key("acme");
    const other = await app.stores.key("other");
    expect((await put("mine", { url }, acme)).status).toBe(200);
    expect((await shown("mine", acme)).status).toBe(200);
    expect((await shown("mine", other)).status).toBe(404);
    const reader = await app.stores.key("acme", ["runs:read"]);
    expect((await put("mine", { url }, reader)).status).toBe(403);
  });
});

describe("the listing of an MCP server", () => {
  test("is claimed once after each save, shown, and outlives a later failure", async () => {
    const store = app.stores.sql;
    await put("gh", { url: "http://mcp.example.com/mcp" });
    const claim = async () => (await claimMcpListings(store, 100)).filter(({ id }) => id === "gh");
    expect(await claim()).toMatchObject([{ id: "gh", owner: "", version: 1, listing: null }]);
    // Another worker claims the listing only when this one has saved none for a minute.
    expect(await claim()).toEqual([]);
    await store`update mcp_servers set try_at = now() where id = 'gh'`;
    expect(await claim()).toHaveLength(1);
    const found = { owner: "", id: "gh", version: 1, listing: listing(["search", "read"]), error: null };
    await saveMcpListing(store, found);
    await store`update mcp_servers set try_at = now() where id = 'gh'`;
    expect(await claim()).toEqual([]);
    expect((await shown("gh")).body["listing"]).toMatchObject({
      state: "listed",
      failed_at: null,
      error: null,
      tools: [{ name: "gh__search" }, { name: "gh__read" }],
      left_out: [{ tool: "odd" }],
    });
    await saveMcpListing(store, { ...found, listing: null, error: "it cannot be reached" });
    expect((await shown("gh")).body["listing"]).toMatchObject({
      state: "failed",
      failed_at: expect.stringMatching(/^20\d\d-/),
      error: "it cannot be reached",
      tools: [{}, {}],
    });
    expect(await readMcpServer(store, TenantId.parse("acme"), "gh")).toMatchObject({
      listing: found.listing,
    });
    // A listing of an older version is not shown for the new one.
    await put("gh", { url });
    await saveMcpListing(store, found);
    expect(await readMcpServer(store, TenantId.parse("acme"), "gh")).toMatchObject({
      version: 2,
      listing: null,
      age_ms: null,
    });
  });

  test("gives the author of an agent a warning for each tool that it does not have", async () => {
    await put("gh", { url });
    const agent = (tools: string[]) => app.call("PUT", "/api/v2/agents/a", { body: { name: "A", tools } });
    const warningsOf = async (tools: string[]) => (await bodyOf(await agent(tools)))["warnings"];
    const [row] = await app.stores.sql<
      { version: number }[]
    >`select version from mcp_servers where id = 'gh'`;
    const version = row?.version ?? 0;
    await saveMcpListing(app.stores.sql, {
      owner: "",
      id: "gh",
      version,
      listing: listing(["search"]),
      error: null,
    });
    expect(await warningsOf(["gh__search", "gh__*"])).toEqual([]);
    expect(await warningsOf(["gh__serch", "nowhere__*"])).toMatchObject([
      { path: "tools[0]", message: expect.stringContaining("gh__search") },
      { path: "tools[1]" },
    ]);
    expect((await agent(["gh__*x"])).status).toBe(422);
  });

  test("gives a warning for an agent and for a step that come to more tools than a model can be offered", async () => {
    await put("gh", { url });
    const [row] = await app.stores.sql<
      { version: number }[]
    >`select version from mcp_servers where id = 'gh'`;
    const names = Array.from({ length: 128 }, (_, i) => `t${i}`);
    const found = { owner: "", id: "gh", version: row?.version ?? 0, listing: listing(names), error: null };
    await saveMcpListing(app.stores.sql, found);
    const agent = async (tools: string[]) =>
      (await bodyOf(await app.call("PUT", "/api/v2/agents/big", { body: { name: "A", tools } })))["warnings"];
    const orchestration = async (fields: object) => {
      const steps = [{ id: "a", type: "agent", agent_id: "big", ...fields }];
      const body = { name: "O", entry_step_id: "a", steps };
      return (await bodyOf(await app.call("PUT", "/api/v2/orchestrations/big", { body })))["warnings"];
    };
    expect(await agent(["gh__*", "gh__t1"])).toEqual([]);
    expect(await orchestration({})).toEqual([]);
    expect(await agent(["gh__*", "web_search", "http_request"])).toContainEqual({
      path: "tools",
      message: expect.stringMatching(/^stand for 130 tools, and a model can be offered 128: name /),
    });
    expect(await orchestration({})).toEqual([
      { path: "steps[0].agent_id", message: expect.stringMatching(/^"big" has 130 tools, .*allowed_tools/) },
    ]);
    expect(await orchestration({ allowed_tools: ["gh__*"] })).toEqual([]);
  });
});
