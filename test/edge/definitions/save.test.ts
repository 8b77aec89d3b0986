import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bodyOf, startApp, type TestApp } from "../app.ts";

let app: TestApp;
let acme: string;
beforeAll(async () => {
  app = await startApp();
  acme = await app.stores.key("acme");
});
afterAll(() => app.stop());

type Fields = { [key: string]: unknown };

/** Saves with the key of the tenant acme. */
async function save(path: string, body: Fields | string, key = acme) {
  const response = await app.call("PUT", `/api/v2/${path}`, { key, body });
  return { status: response.status, ...(await bodyOf(response)) };
}

const agentStep = (agent_id: string, changes: Fields = {}) => ({
  id: "a",
  type: "agent",
  agent_id,
  ...changes,
});
const orchestration = (step: Fields, changes: Fields = {}) => ({
  name: "O",
  entry_step_id: "a",
  steps: [step],
  ...changes,
});
const url = "https://example.com/";

describe("a definition that all tenants share", () => {
  const secret = "known to the platform alone";
  const shared: [string, Fields, Fields][] = [
    [
      "orchestrations/hidden_orch",
      {
        name: "H",
        entry_step_id: "ask",
        steps: [
          { id: "ask", type: "llm", prompt_template: secret, output_key: "x", next_step_id: "code" },
          {
            id: "code",
            type: "transform",
            transform_code: `result = "${secret}"`,
            output_key: "y",
            next_step_id: "if",
          },
          {
            id: "if",
            type: "if_else",
            if_condition: `state.x === "${secret}"`,
            if_true_step_id: "show",
            if_false_step_id: "",
          },
          { id: "show", type: "print", print_content: secret },
        ],
      },
      {
        name: "H",
        steps: [
          { id: "ask", type: "llm", next_step_id: "code" },
          { id: "code" },
          { id: "if" },
          { id: "show" },
        ],
      },
    ],
    ["agents/hidden_agent", { name: "H", system_prompt: secret }, { name: "H", type: "conversational" }],
    [
      "tools/hidden_tool",
      {
        tool_type: "http",
        url: "https://example.com/known",
        headers: { "x-of": secret },
        public_headers: ["x-of"],
      },
      { tool_type: "http", inputSchema: { type: "object", properties: {} } },
    ],
    [
      "mcp-servers/hidden_server",
      { url: "https://example.com/known", headers: { "x-of": secret }, public_headers: ["x-of"] },
      { server_type: "remote" },
    ],
  ];
  const read = async (path: string, key: string) => {
    const response = await app.call("GET", `/api/v2/${path}`, { key });
    return await response.text();
  };

  test.each(shared)(
    "shows a tenant neither prompts nor headers unless it is public: %s",
    async (path, body, visible) => {
      expect(await save(path, body, app.platformKey)).toMatchObject({ tenant_id: null });
      expect(await read(path, app.platformKey)).toContain("known");
      const seen = await read(path, acme);
      expect(JSON.parse(seen)).toMatchObject(visible);
      expect(seen).not.toContain("known");

      await save(path, { ...body, public: true }, app.platformKey);
      expect(await read(path, acme)).toContain(secret);
      // A definition of the tenant's own is shown whole.
      const own = path.replace("hidden", "own");
      await save(own, body);
      expect(await read(own, acme)).toContain(secret);
    },
  );

  test("cannot be copied from a tenant's view of it, which has no prompts", async () => {
    const path = "orchestrations/copied";
    await save(
      path,
      orchestration({ id: "a", type: "llm", prompt_template: "p", output_key: "x" }),
      app.platformKey,
    );
    const { version: _version, ...copy }: Fields = JSON.parse(await read(path, acme));
    expect(await save(path, copy)).toMatchObject({ status: 422, errors: [{ path: "partly_shown" }] });
  });
});

describe("a definition that is saved", () => {
  test("returns the fields that only editors read as they were sent", async () => {
    const kept = { position_x: -10.5, position_y: 3 };
    const state_schema = { k: { description: "Of people" } };
    const editorFields = { avatar: "cat.png", state_schema };
    await save("orchestrations/kept", orchestration({ id: "a", type: "end", ...kept }, editorFields));
    const get = async (path: string) => bodyOf(await app.call("GET", `/api/v2/${path}`, { key: acme }));
    expect(await get("orchestrations/kept")).toMatchObject({ ...editorFields, steps: [kept] });
    await save("agents/kept", { name: "K", description: "d", avatar: "x" });
    expect(await get("agents/kept")).toMatchObject({ description: "d", avatar: "x" });
    await save("tools/kept", { tool_type: "http", url, generalName: "Kept" });
    expect(await get("tools/kept")).toMatchObject({ generalName: "Kept" });
  });

  test("with a field that is not built yet is refused, also by a lenient save, unless the field has its empty value", async () => {
    const headers = { prefer: "handling=lenient" };
    for (const [body, status] of [
      [{ name: "R", repos: ["repo_1"], db_configs: [{}] }, 422],
      [{ name: "R", repos: [], db_configs: [], skip_default_tools: true }, 200],
    ] as const) {
      for (const headersField of [{}, { headers }]) {
        const answer = await app.call("PUT", "/api/v2/agents/later", { key: acme, body, ...headersField });
        expect(answer.status).toBe(status);
        if (status === 422) {
          expect(await bodyOf(answer)).toMatchObject({
            code: "not_yet",
            errors: [{ path: "repos" }, { path: "db_configs" }],
          });
        }
      }
    }
  });

  test.each([
    ["tools/inner", { tool_type: "http", url: "http://10.0.0.1/x" }],
    [
      "tools/inner",
      { tool_type: "http", url: "http://169.254.169.254/{q}", inputSchema: { properties: { q: {} } } },
    ],
    ["mcp-servers/inner", { url: "https://[fd00::1]/mcp" }],
  ])("gets a warning for an address that workers refuse to call: %s %j", async (path, body) => {
    const message = "is not a public address, and EGRESS_ALLOW does not name it: workers do not call it";
    expect(await save(path, body)).toMatchObject({
      status: 200,
      warnings: expect.arrayContaining([{ path: "url", message }]),
    });
  });

  test("gets no warning for a public address or a host name", async () => {
    for (const at of ["https://example.com/{q}", "http://93.184.216.34/"]) {
      const inputSchema = { properties: { q: {} }, required: ["q"] };
      expect(await save("tools/outer", { tool_type: "http", url: at, inputSchema })).toMatchObject({
        status: 200,
        warnings: [],
      });
    }
  });

  // Fails when a misspelt name is found at the first run, or when a definition cannot be saved before what it names.
  test("gets a warning for each agent and tool that is not stored, with the nearest stored name", async () => {
    await save("tools/web_search", { tool_type: "http", url });
    expect(
      await save("agents/writer", { name: "W", tools: ["web_serch", "web_search", "mail"] }),
    ).toMatchObject({
      status: 200,
      warnings: [
        { path: "tools[0]", message: 'there is no tool "web_serch" yet: did you mean "web_search"?' },
        { path: "tools[2]", message: 'there is no tool "mail" yet' },
      ],
    });
    expect(await save("orchestrations/o1", orchestration(agentStep("wirter")))).toMatchObject({
      status: 200,
      warnings: [
        { path: "steps[0].agent_id", message: 'there is no agent "wirter" yet: did you mean "writer"?' },
      ],
    });
    const fits = agentStep("writer", { allowed_tools: ["mail", "post"] });
    expect(await save("orchestrations/o1", orchestration(fits))).toMatchObject({
      status: 200,
      version: 2,
      warnings: [{ path: "steps[0].allowed_tools[1]", message: 'the agent "writer" has no tool "post"' }],
    });
  });

  test("gets no warning for what is stored for it or for all tenants, and its GET has none", async () => {
    await save("tools/shared_tool", { tool_type: "http", url }, app.platformKey);
    expect(await save("agents/reader", { name: "R", tools: ["shared_tool"] })).toMatchObject({
      warnings: [],
    });
    expect(await save("orchestrations/o2", orchestration(agentStep("reader")))).toMatchObject({
      warnings: [],
    });
    const read = await app.call("GET", "/api/v2/orchestrations/o2", { key: acme });
    expect(await bodyOf(read)).not.toHaveProperty("warnings");
  });

  test("that belongs to another tenant, or is deleted, does not count as stored", async () => {
    const globex = await app.stores.key("globex");
    await save("agents/secret_agent", { name: "S" }, globex);
    await save("agents/deleted_agent", { name: "D" });
    await app.call("DELETE", "/api/v2/agents/deleted_agent", { key: acme });
    for (const id of ["secret_agent", "deleted_agent"]) {
      expect(await save("orchestrations/o3", orchestration(agentStep(id)))).toMatchObject({
        status: 200,
        warnings: [{ path: "steps[0].agent_id", message: `there is no agent "${id}" yet` }],
      });
    }
  });

  test("with a limit on money gets a warning for an agent whose model has no known price", async () => {
    await save("agents/costly", { name: "C", model: "openai-compatible/m1" });
    const step = orchestration(agentStep("costly"), { max_total_cost_usd: 1 });
    expect(await save("orchestrations/o4", step)).toMatchObject({
      status: 200,
      warnings: [{ path: "steps[0].agent_id", message: expect.stringContaining("has no known price") }],
    });
  });

  // Fails when a condition over a misspelt key is false for ever, and no answer of the edge names it.
  test("gets a warning for a key of state that code reads and nothing sets", async () => {
    const step = {
      id: "a",
      type: "if_else",
      if_condition: "state.urgnt and not state?.later",
      if_true_step_id: null,
    };
    const state_schema = { urgent: { type: "boolean" } };
    const code = {
      id: "b",
      type: "transform",
      transform_code: 'state.own = 1; result = state.own + state["othr"]',
    };
    const misspelt = { ...orchestration({ ...step, if_false_step_id: "b" }), state_schema };
    expect(await save("orchestrations/o6", { ...misspelt, steps: [...misspelt.steps, code] })).toMatchObject({
      status: 200,
      warnings: [
        {
          path: "steps[0].if_condition",
          message: 'state.urgnt is set by no step and not in state_schema: did you mean "urgent"?',
        },
        { path: "steps[1].transform_code", message: "state.othr is set by no step and not in state_schema" },
      ],
    });
  });

  // Fails when `input_keys` count as set because a step declares them.
  test("gets a warning for a key that a merge, an extract_json or a loop needs and nothing sets", async () => {
    const steps = [
      { id: "a", type: "print", print_content: "x", output_key: "draft", next_step_id: "m" },
      { id: "m", type: "merge", input_keys: ["draft", "drift"], next_step_id: "x" },
      { id: "x", type: "extract_json", input_keys: ["draft", "draught"], next_step_id: "l" },
      { id: "l", type: "loop", for_each: "state.items.all", loop_step_ids: ["n"] },
      { id: "n", type: "loop", for_each: "item.parts", loop_step_ids: ["p"] },
      { id: "p", type: "print", print_content: "{item}" },
    ];
    expect(await save("orchestrations/o9", { name: "Inputs", entry_step_id: "a", steps })).toMatchObject({
      status: 200,
      warnings: [
        {
          path: "steps[1].input_keys[1]",
          message: '"drift" is set by no step and not in state_schema: did you mean "draft"?',
        },
        {
          path: "steps[2].input_keys[1]",
          message: '"draught" is set by no step and not in state_schema',
        },
        { path: "steps[3].for_each", message: '"items" is set by no step and not in state_schema' },
      ],
    });
  });

  test("gets a warning for a field of a form whose answers are not checked", async () => {
    const human_fields = [
      { key: "a", type: "bool" },
      { key: "b", type: "select" },
      { key: "c", type: "text" },
    ];
    const step = { id: "a", type: "human", human_prompt: "x", human_fields };
    expect(await save("orchestrations/o7", orchestration(step))).toMatchObject({
      warnings: [
        { path: "steps[0].human_fields[0].type", message: expect.stringContaining('"bool" are not checked') },
        { path: "steps[0].human_fields[1].options" },
      ],
    });
  });

  // Fails when a part of a definition is dropped without an error.
  test("with a key __proto__ in one of its tables is refused by its path", async () => {
    const steps =
      '[{"id":"a","type":"switch","switch_expression":"1","switch_cases":{"__proto__":null,"1":null}}]';
    const body = `{"name":"O","entry_step_id":"a","steps":${steps}}`;
    expect(await save("orchestrations/o8", body)).toMatchObject({
      status: 422,
      errors: [{ path: "steps[0].switch_cases.__proto__" }],
    });
  });

  test("that can never run is 422, with each field", async () => {
    const llm = { id: "a", type: "llm", model: "opnai/x" };
    expect(await save("orchestrations/o5", orchestration(llm))).toMatchObject({
      status: 422,
      code: "invalid",
      errors: [{ path: "steps[0].model", message: expect.stringContaining('did you mean "openai/x"?') }],
    });
    const code = { id: "a", type: "transform", transform_code: "result = \n = 1" };
    expect(await save("orchestrations/o5", orchestration(code))).toMatchObject({
      status: 422,
      errors: [{ path: "steps[0].transform_code", message: expect.stringContaining("line 2, column 2") }],
    });
    expect(await save("agents/o5", { name: "A", model: "gtp-4.1" })).toMatchObject({
      status: 422,
      errors: [{ path: "model" }],
    });
    const broken = { tool_type: "http", url: `${url}{q`, inputSchema: { anyOf: [{}] } };
    expect(await save("tools/o5", broken)).toMatchObject({
      status: 422,
      errors: [{ path: "url" }, { path: "inputSchema.anyOf" }],
    });
  });
});
