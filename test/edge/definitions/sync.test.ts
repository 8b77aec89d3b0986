import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { bodyOf, startApp, type TestApp } from "../app.ts";
import { MASTER_KEY } from "../test-stores.ts";
import {
  exportedAgent,
  exportedBundle,
  exportedOrchestration,
  exportedStep,
  exportedTool,
  researchAndReview,
} from "./predecessor-bundle.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
});
afterAll(() => app.stop());

/** A tenant of the test's own, so that no test sees the definitions of another. */
let acme: string;
let tenants = 0;
beforeEach(async () => {
  acme = await app.stores.key(`acme-${(tenants += 1)}`);
});

async function sync(
  body: object,
  { key = acme, query = "", headers = {} } = {},
): Promise<Record<string, unknown>> {
  const answer = await app.call("POST", `/scale/sync${query}`, { key, body, headers });
  return { status: answer.status, ...(await bodyOf(answer)) };
}
async function get(path: string, key = acme): Promise<Record<string, unknown>> {
  const answer = await app.call("GET", `/api/v2/${path}`, { key });
  return { status: answer.status, ...(await bodyOf(answer)) };
}

const PATHS = ["orchestrations/orch_imported", "agents/agent_reader", "tools/look_up", "mcp-servers/notes"];
const url = "https://tools.example.com/call";
const bundle = () =>
  exportedBundle({
    custom_tools: [exportedTool("look_up", url, { headers: { "X-Api-Key": "a-secret-of-acme" } })],
    mcp_servers: [
      { name: "notes", label: "Notes", server_type: "remote", url: "https://mcp.example.com/mcp", token: "" },
    ],
    agents: [
      exportedAgent("agent_reader", { tools: ["look_up", "notes__search"] }),
      exportedAgent("agent_author"),
    ],
    orchestrations: [researchAndReview()],
  });
const containing = (fields: object) => expect.objectContaining(fields);
const print = (id: string, text = "x") => exportedStep(id, "print", { print_content: text });

describe("a bundle of the predecessor", () => {
  // Fails when a definition is saved before the definitions that it names, or when the fields that every export has are refused.
  test("is saved in one request, without a warning about definitions that the bundle itself has", async () => {
    const result = await sync(bundle());
    expect(result).toMatchObject({
      status: 200,
      dry_run: false,
      total_synced: 5,
      errors: [],
      warnings: [{ id: "notes", kind: "mcp_servers", path: "mcp_servers[0].url" }],
      details: {
        orchestrations: { synced: 1, created: 1, errors: 0 },
        agents: { synced: 2, created: 2 },
        tools: { synced: 1, created: 1 },
        mcp_servers: { synced: 1, created: 1 },
        settings: { synced: 0, errors: 0 },
      },
    });
    expect(await get("orchestrations/orch_imported")).toMatchObject({ version: 1, timeout_minutes: 45 });
    expect(await get("tools/look_up")).toMatchObject({ headers: { "X-Api-Key": "********" } });
    expect(JSON.stringify(result)).not.toContain("a-secret-of-acme");
    const [row] = await app.stores
      .sql`select definition from tools where id = 'look_up' and tenant_id = ${`acme-${tenants}`}`;
    expect(row?.["definition"]).not.toContain("a-secret-of-acme");
  });

  // Fails when an agent or an orchestration is said to name an orchestration that the same request brings.
  test("may have orchestrations that run each other, and agents that run them", async () => {
    const nested = (id: string, orchestration_id: string) =>
      exportedOrchestration(id, [exportedStep("sub", "orchestration", { orchestration_id })]);
    const result = await sync({
      agents: [exportedAgent("boss", { type: "orchestrator", orchestration_id: "one" })],
      orchestrations: [nested("one", "two"), nested("two", "nowhere")],
    });
    expect(result).toMatchObject({
      total_synced: 3,
      errors: [],
      warnings: [{ id: "two", message: expect.stringContaining('no orchestration "nowhere"') }],
    });
  });

  test("that is sent again changes nothing, and makes no version", async () => {
    await sync(bundle());
    expect(await sync(bundle())).toMatchObject({
      total_synced: 5,
      details: {
        orchestrations: { unchanged: 1, created: 0, updated: 0 },
        agents: { unchanged: 2 },
        tools: { unchanged: 1 },
        mcp_servers: { unchanged: 1 },
      },
    });
    for (const path of PATHS) {
      expect(await get(path)).toMatchObject({ version: 1 });
    }
  });

  // Fails when an edge that died in the middle of a sync leaves something that a repetition does not complete.
  test("that is stored in part is completed", async () => {
    const whole = bundle();
    await sync({ ...whole, orchestrations: [], agents: [exportedAgent("agent_author", { tools: ["old"] })] });
    expect(await sync(whole)).toMatchObject({
      total_synced: 5,
      details: {
        tools: { unchanged: 1 },
        agents: { created: 1, updated: 1 },
        orchestrations: { created: 1 },
      },
    });
    expect(await get("agents/agent_author")).toMatchObject({ version: 2, tools: [] });
  });

  // Fails when two requests that read the same version both write: a second version would equal the first.
  test("that is sent twice at once is stored once", async () => {
    const results = await Promise.all([sync(bundle()), sync(bundle())]);
    for (const result of results) expect(result).toMatchObject({ status: 200, total_synced: 5, errors: [] });
    for (const path of PATHS) expect(await get(path)).toMatchObject({ version: 1 });
  });

  // Fails when a definition is overwritten although another request has saved it since the comparison.
  test("that is sent at the same time as another one leaves each definition as one of the two bundles has it", async () => {
    const other = { agents: [exportedAgent("agent_author", { name: "Other" })] };
    const results = await Promise.all([sync(bundle()), sync(other)]);
    const { name, version } = await get("agents/agent_author");
    expect(["Other", "Agent agent_author"]).toContain(name);
    const errors = results.flatMap((result) => result["errors"]);
    // Both were written, one after the other; or the second one found that it was overtaken.
    expect([version, errors]).toEqual(
      version === 2 ? [2, []] : [1, [expect.objectContaining({ id: "agent_author", code: "conflict" })]],
    );
  });

  test("is checked by a dry run in the same way, which stores nothing", async () => {
    const dry = await sync({ ...bundle(), dry_run: true });
    expect(dry).toMatchObject({ dry_run: true, total_synced: 5, errors: [], warnings: [{ id: "notes" }] });
    expect((await get("agents/agent_author"))["status"]).toBe(404);
    expect(await sync(bundle(), { query: "?dry_run=true" })).toMatchObject({ dry_run: true });
    expect((await get("agents/agent_author"))["status"]).toBe(404);
    expect(await sync(bundle())).toMatchObject({ details: { agents: { created: 2 } } });
  });

  test("with an unchanged definition that was deleted makes that definition visible again", async () => {
    await sync(bundle());
    await app.call("DELETE", "/api/v2/agents/agent_author", { key: acme });
    expect(await sync(bundle())).toMatchObject({ details: { agents: { created: 1, unchanged: 1 } } });
    expect(await get("agents/agent_author")).toMatchObject({ status: 200, version: 3 });
  });
});

describe("a definition of a bundle that cannot be saved", () => {
  const python = "total = 0\nfor item in state['items']:\n    total += item\nresult = total";

  // Fails when a bad entry spoils the others, or when its author has to search for it.
  test("is reported by its path with what to write instead, and stops no other", async () => {
    const steps = (transform_code: string) => [exportedStep("t", "transform", { transform_code })];
    const result = await sync(
      exportedBundle({
        custom_tools: [exportedTool("add", "", { tool_type: "python", code: "print(1)" }), "no tool"],
        mcp_servers: [
          { name: "git", server_type: "stdio", command: "uvx", args: ["mcp-server-git"], env: {} },
        ],
        agents: [
          exportedAgent("agent_boss", { type: "delegate" }),
          exportedAgent("agent_cli", { model: "cli.claude" }),
          exportedAgent("agent_author"),
          exportedAgent("agent_author", { name: "Twin" }),
        ],
        orchestrations: [
          exportedOrchestration("orch_python", steps(python)),
          exportedOrchestration("orch_fine", [print("a")]),
          { name: "No id", steps: [print("a")] },
        ],
      }),
    );
    expect(result).toMatchObject({ status: 200, total_synced: 2 });
    expect(result).toHaveProperty(
      "errors",
      expect.arrayContaining([
        containing({
          id: "add",
          code: "not_yet",
          path: "custom_tools[0].tool_type",
          message: expect.stringContaining("JavaScript"),
        }),
        containing({ id: null, path: "custom_tools[1]", message: "must be an object" }),
        containing({
          id: "git",
          code: "not_yet",
          path: "mcp_servers[0].args",
          message: expect.stringContaining("gateway"),
        }),
        containing({ id: "agent_boss", code: "not_yet", path: "agents[0].delegate_agent_ids" }),
        containing({
          id: "agent_cli",
          code: "invalid",
          path: "agents[1].model",
          message: expect.stringContaining("name its provider's model"),
        }),
        containing({
          id: "agent_author",
          path: "agents[3].id",
          message: "is the id of an earlier definition too",
        }),
        containing({
          id: "orch_python",
          code: "invalid",
          path: "orchestrations[0].steps[0].transform_code",
          message: expect.stringMatching(/line 2, column 5.*looks like Python.*write JavaScript/s),
        }),
        containing({ id: null, path: "orchestrations[2].id", message: "is required" }),
      ]),
    );
    expect(await get("agents/agent_author")).toMatchObject({ status: 200, name: "Agent agent_author" });
    expect((await get("orchestrations/orch_fine"))["status"]).toBe(200);
    expect((await get("orchestrations/orch_python"))["status"]).toBe(404);
  });

  // Fails when Python that happens to be JavaScript is found by the first run that comes to it.
  test("is not a definition whose Python compiles as JavaScript: that is saved, with a warning for each call", async () => {
    const code = 'result = ", ".join(state.user_input.splitlines()[0].split(" "))';
    const steps = [exportedStep("t", "transform", { transform_code: code })];
    expect(
      await sync(exportedBundle({ orchestrations: [exportedOrchestration("orch_py", steps)] })),
    ).toMatchObject({
      total_synced: 1,
      warnings: [
        {
          path: "orchestrations[0].steps[0].transform_code",
          message: expect.stringContaining("write list.join(text)"),
        },
        {
          path: "orchestrations[0].steps[0].transform_code",
          message: expect.stringContaining("write split"),
        },
      ],
    });
  });

  test("leaves the stored version as it is", async () => {
    await sync({ orchestrations: [exportedOrchestration("orch_o", [print("a", "first")])] });
    const broken = exportedOrchestration("orch_o", [print("a", "{state.nowhere}")]);
    expect(await sync({ orchestrations: [broken] })).toMatchObject({
      total_synced: 0,
      errors: [{ id: "orch_o" }],
    });
    expect(await get("orchestrations/orch_o")).toMatchObject({
      version: 1,
      steps: [{ print_content: "first" }],
    });
  });

  // Fails when a value that Postgres cannot store fails the whole request.
  test("because Postgres cannot store its name stops no other", async () => {
    const agents = [exportedAgent("agent_nul", { name: "a\0b" }), exportedAgent("agent_author")];
    expect(await sync({ agents })).toMatchObject({
      status: 200,
      total_synced: 1,
      errors: [{ id: "agent_nul", path: "agents[0].name", code: "invalid" }],
    });
  });

  test("has at most twenty errors in the response, and the number of the others", async () => {
    const steps = Array.from({ length: 40 }, (_, i) => exportedStep(`s${i}`, "llm", { model: "nowhere" }));
    const result = await sync({ orchestrations: [exportedOrchestration("orch_wrong", steps)] });
    expect(result["errors"]).toHaveLength(21);
    expect(Array.isArray(result["errors"]) && result["errors"].at(-1)).toMatchObject({
      path: "orchestrations[0]",
      message: expect.stringMatching(/^\d+ more errors$/),
    });
  });
});

describe("a secret that an export has redacted", () => {
  const server = {
    name: "hub",
    server_type: "remote",
    url: "https://hub.example.com/mcp",
    token: "xxxxxxxxx",
  };
  const tool = exportedTool("ring", url, { headers: { Authorization: "Bearer xxxxxxxxx" } });

  // Fails when the placeholder is stored as a credential.
  test("is refused by its path where no secret is stored, and keeps a stored secret", async () => {
    const redacted = { custom_tools: [tool], mcp_servers: [server] };
    expect(await sync(redacted)).toMatchObject({
      total_synced: 0,
      errors: [
        {
          id: "ring",
          path: "custom_tools[0].headers.Authorization",
          message: expect.stringContaining("send the value"),
        },
        { id: "hub", path: "mcp_servers[0].token", message: expect.stringContaining("redacted") },
      ],
    });
    const complete = {
      custom_tools: [{ ...tool, headers: { Authorization: "Bearer ring-secret" } }],
      mcp_servers: [{ ...server, token: "hub-secret" }],
    };
    expect(await sync(complete)).toMatchObject({ total_synced: 2 });
    expect(await sync(redacted)).toMatchObject({
      total_synced: 2,
      details: { tools: { unchanged: 1 }, mcp_servers: { unchanged: 1 } },
    });
    const other = { ...server, url: "https://elsewhere.example.com/mcp" };
    expect(await sync({ mcp_servers: [other] })).toMatchObject({ errors: [{ id: "hub" }] });
  });
});

test("a field that nothing reads refuses its definition, unless the request is lenient", async () => {
  const agents = [exportedAgent("agent_author", { toolz: ["x"] })];
  expect(await sync({ agents })).toMatchObject({
    total_synced: 0,
    errors: [{ path: "agents[0].toolz", message: expect.stringContaining('did you mean "tools"') }],
  });
  const headers = { prefer: "handling=lenient" };
  expect(await sync({ agents }, { headers })).toMatchObject({ total_synced: 1 });
});

test("what names the predecessor's machine is left out of an agent, with a warning", async () => {
  const agents = [exportedAgent("agent_coder", { repos: ["repo_1"], db_configs: ["db_1"] })];
  expect(await sync({ agents })).toMatchObject({
    total_synced: 1,
    warnings: [
      { id: "agent_coder", path: "agents[0].repos", message: expect.stringContaining("give it tools") },
      { id: "agent_coder", path: "agents[0].db_configs" },
    ],
  });
  expect(await get("agents/agent_coder")).not.toHaveProperty("repos");
});

describe("deletions", () => {
  // Fails when what a bundle does not have is deleted.
  test("are those that the request names, and no others", async () => {
    await sync(bundle());
    expect(await sync({ delete: ["agents/agent_author", "orchestrations/orch_imported"] })).toMatchObject({
      total_synced: 0,
      errors: [],
      details: { agents: { deleted: 1 }, orchestrations: { deleted: 1 } },
    });
    expect((await get("agents/agent_author"))["status"]).toBe(404);
    expect((await get("orchestrations/orch_imported"))["status"]).toBe(404);
    expect((await get("agents/agent_reader"))["status"]).toBe(200);
  });

  test("of a definition that does not exist are a warning; of a definition that the same request saves they are an error", async () => {
    const result = await sync({
      agents: [exportedAgent("agent_author")],
      delete: ["agents/agent_author", "tools/none"],
    });
    expect(result).toMatchObject({
      total_synced: 1,
      errors: [{ id: "agent_author", path: "delete[0]" }],
      warnings: [{ id: "none", kind: "tools", path: "delete[1]" }],
    });
    expect((await get("agents/agent_author"))["status"]).toBe(200);
  });

  test("in a dry run delete nothing", async () => {
    await sync(bundle());
    const dry = await sync({ dry_run: true, delete: ["agents/agent_author", "agents/none"] });
    expect(dry).toMatchObject({ details: { agents: { deleted: 1 } }, warnings: [{ id: "none" }] });
    expect((await get("agents/agent_author"))["status"]).toBe(200);
  });
});

describe("the owner of a sync", () => {
  test("is the key's tenant, which sees and changes nothing of another", async () => {
    const globex = await app.stores.key("globex");
    await sync({ agents: [exportedAgent("agent_author", { name: "Of globex" })] }, { key: globex });
    expect(await sync(bundle())).toMatchObject({ details: { agents: { created: 2 } } });
    expect(await sync({ delete: ["agents/agent_author"] }, { key: globex })).toMatchObject({
      details: { agents: { deleted: 1 } },
    });
    expect(await get("agents/agent_author")).toMatchObject({ status: 200, name: "Agent agent_author" });
    expect(await sync({ ...bundle(), tenant_id: "globex" })).toMatchObject({ status: 403 });
  });

  test("is for a platform key the named tenant, or all tenants", async () => {
    const key = app.platformKey;
    const tenant_id = `acme-${tenants}`;
    const agents = [exportedAgent("agent_platform")];
    expect(await sync({ agents, tenant_id }, { key })).toMatchObject({ total_synced: 1 });
    const status = await app.call("GET", `/api/scale/sync/status?tenant_id=${tenant_id}`, { key });
    expect(await bodyOf(status)).toEqual({
      available: true,
      counts: { orchestrations: 0, agents: 1, tools: 0, mcp_servers: 0, settings: 0 },
    });
    expect(await sync({ agents }, { key, query: `?tenant_id=${tenant_id}` })).toMatchObject({
      details: { agents: { unchanged: 1 } },
    });
    expect(await sync({ agents }, { key })).toMatchObject({ details: { agents: { created: 1 } } });
  });
});

describe("a request", () => {
  test.each<[object, object]>([
    [{}, { path: "", message: expect.stringContaining("has no definition") }],
    [
      { agents: Array.from({ length: 101 }, () => ({})) },
      { path: "", message: expect.stringContaining("at most 100") },
    ],
    [{ delete: Array.from({ length: 150_000 }, () => 1) }, { path: "delete" }],
    [{ agent: [] }, { path: "agent", message: expect.stringContaining("did you mean agents") }],
    [{ agents: {} }, { path: "agents" }],
    [
      { agents: [], delete: ["agent_old"] },
      { path: "delete[0]", message: expect.stringContaining("agents/agent_old") },
    ],
    [{ agents: [], version: "2.0" }, { path: "version" }],
  ])(
    "that has nothing to do, too much, or a wrong field is refused as a whole: %.40j",
    async (body, error) => {
      expect(await sync(body)).toMatchObject({ status: 422, code: "invalid", errors: [error] });
    },
  );

  test("at the predecessor's path is served too", async () => {
    const answer = await app.call("POST", "/api/scale/sync", { key: acme, body: bundle() });
    expect(await bodyOf(answer)).toMatchObject({ total_synced: 5 });
  });
});
