import { describe, expect, test } from "vitest";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { createSandbox } from "../../../worker-node/engine/sandbox.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { getDatetime } from "../../../worker-node/tools/built-in/get-datetime.ts";
import { refusingFiles, refusingOutbox, refusingStore } from "../fakes.ts";
import { createTools } from "../../../worker-node/tools/create-tools.ts";
import { fakeContext, run, step } from "../engine/context.ts";
import { listen } from "./mcp/servers.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { started } from "./mcp/close-after-test.ts";

const acme = TenantId.parse("acme");

function call(name: string, args: JsonObject, allow = "127.0.0.1"): Promise<Json> {
  const tools = createTools({
    egress: createEgress(allow),
    timeoutMs: 120_000,
    masterKey: null,
    mail: refusingOutbox,
    store: refusingStore,
  });
  const signal = new AbortController().signal;
  const tool = { tool_type: "built_in", name };
  return tools.call({
    tenantId: acme,
    tool,
    args,
    effectKey: "run_1:s:1:tool.1",
    signal,
    files: refusingFiles,
  });
}

describe("get_datetime", () => {
  const now = new Date("2026-07-01T22:30:05.999Z");

  test("returns date, time and weekday of a zone, with its offset", () => {
    expect(getDatetime({ timezone: "Asia/Kolkata" }, now)).toEqual({
      iso: "2026-07-02T04:00:05+05:30",
      date: "2026-07-02",
      time: "04:00:05",
      weekday: "Thursday",
      timezone: "Asia/Kolkata",
      unix_seconds: 1_782_945_005,
    });
    expect(getDatetime({}, now)).toMatchObject({ iso: "2026-07-01T22:30:05+00:00", timezone: "UTC" });
  });

  test("refuses a zone that does not exist, and names it", () => {
    expect(() => getDatetime({ timezone: "Mars/Olympus" }, now)).toThrow("Mars/Olympus");
  });
});

describe("http_request", () => {
  test("gives each status as a result, and a location that it does not follow", async () => {
    const server = await started(
      listen((request, response) => {
        if (request.url === "/away") response.writeHead(302, { location: "http://169.254.169.254/" }).end();
        else response.writeHead(404, { "content-type": "application/json" }).end('{"no":1}');
      }),
    );
    const base = server.url.replace("/mcp", "");
    expect(
      await call("http_request", { url: `${base}/x`, method: "POST", body: "b", headers: { "X-A": "1" } }),
    ).toEqual({
      status: 404,
      content_type: "application/json",
      body: { no: 1 },
    });
    expect(server.received[0]).toMatchObject({
      method: "POST",
      headers: { "x-a": "1", "idempotency-key": "run_1:s:1:tool.1" },
    });
    expect(await call("http_request", { url: `${base}/away` })).toMatchObject({
      status: 302,
      location: "http://169.254.169.254/",
    });
    expect(server.received).toHaveLength(2);
  });

  // Fails when a body goes out without a type: servers do not read it, and respond as if nothing had been sent.
  test.each([
    [{ body: '{"a":1}' }, "application/json"],
    [{ body: "a=1" }, "text/plain; charset=utf-8"],
    [
      { body: '{"a":1}', headers: { "Content-type": "application/vnd.api+json" } },
      "application/vnd.api+json",
    ],
    [{}, undefined],
  ])("with %j has the content type %s", async (args, type) => {
    const server = await started(listen((_, response) => void response.end()));
    await call("http_request", { url: server.url, method: "POST", ...args });
    expect(server.received[0]?.headers["content-type"]).toBe(type);
    expect(server.received[0]?.headers["user-agent"]).toBe("synapse-edge");
  });

  test.each([
    [{ url: "http://127.0.0.1:1/" }, "egress_blocked"],
    [{ url: "http://169.254.169.254/latest/meta-data" }, "egress_blocked"],
    [{ url: "file:///etc/passwd" }, "tool_rejected"],
    [{ url: "https://me:pw@example.com" }, "tool_rejected"],
    [{ url: "https://example.com", headers: { "a b": "c" } }, "tool_rejected"],
    [{ url: "https://example.com", body: "x" }, "tool_rejected"],
  ])("of %j is refused to the model", async (args, code) => {
    await expect(call("http_request", args, "")).rejects.toMatchObject({ name: "ToolRejection", code });
  });

  test("to an address where nothing listens is reported to the model", async () => {
    const server = await listen(() => {});
    await server.close();
    await expect(call("http_request", { url: server.url })).rejects.toMatchObject({
      name: "ToolRejection",
      code: "unreachable",
    });
  });
});

test("an agent runs JavaScript in the sandbox, and gets the error of its program", async () => {
  const sandbox = createSandbox();
  try {
    const signal = new AbortController().signal;
    const agents = { agent_1: { id: "agent_1", name: "A", tools: ["run_javascript"] } };
    const program = (code: string, input: Json) => ({
      calls: [{ name: "run_javascript", args: { code, input } }],
    });
    const answers = [
      program("result = input.map((n) => n * n)", [2, 3]),
      program("result = nope", null),
      program("result = fetch('x')", null),
      "ok",
    ];
    const fake = fakeContext({ agents, answers });
    const context = { ...fake.context, sandbox: sandbox.of({ tenant: "acme", signal }) };
    await run(step({ type: "agent", agent_id: "agent_1", prompt_template: "Go", max_turns: 9 }), context);
    const toolResults = fake.modelCalls
      .at(-1)
      ?.messages.filter(({ role }) => role === "tool")
      .map(({ content }) => content);
    expect(toolResults).toEqual(["[4,9]", expect.stringContaining("nope"), expect.stringContaining("fetch")]);
    expect(JSON.stringify(toolResults)).not.toContain("transform_code");
  } finally {
    await sandbox.close();
  }
});
