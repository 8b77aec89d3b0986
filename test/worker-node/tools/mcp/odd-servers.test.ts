import type { ServerResponse } from "node:http";
import zlib from "node:zlib";
import { describe, expect, test, vi } from "vitest";
import { McpListing } from "../../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../../shared/contracts/json.ts";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { valueOf } from "./call.ts";
import { cpuMs } from "../../../services/cpu-time.ts";
import { withReadableMembers } from "../../../../worker-node/tools/mcp/readable-members.ts";
import { refusingStore } from "../../fakes.ts";
import { rawServer, writeJson } from "./servers.ts";
import { started } from "./close-after-test.ts";

function clientOf(url: string, fields: JsonObject = {}) {
  const tools = new McpTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 120_000,
    masterKey: null,
    store: refusingStore,
  });
  const server = { name: "srv", server_type: "remote", url, owner: "acme", version: 1, ...fields };
  const never = new AbortController().signal;
  return {
    list: async () => McpListing.parse(await tools.list(server, never)),
    call: (args: JsonObject = {}, inputSchema: JsonObject = { type: "object" }): Promise<Json> => {
      const tool = { tool_type: "mcp", name: "srv__t", tool: "t", description: "", inputSchema, server };
      return valueOf(tools, tool, args);
    },
  };
}

const SSE = { "content-type": "text/event-stream" };
const tool = (name: string, fields: object = {}) => ({ name, inputSchema: { type: "object" }, ...fields });

describe("a result with isError", () => {
  const reasons = { errors: [{ field: "q", reason: "x".repeat(2_000), id: 12 }] };
  const long = `wrong input: ${"y".repeat(2_000)}`;

  // Fails when the model gets the beginning of the text alone.
  test.each<[string, object, string]>([
    ["a long text", { content: [{ type: "text", text: long }] }, long],
    ["structured content alone", { content: [], structuredContent: reasons }, JSON.stringify(reasons)],
    [
      "a text and structured content",
      { content: [{ type: "text", text: "wrong input" }], structuredContent: reasons },
      `wrong input\n${JSON.stringify(reasons)}`,
    ],
    [
      "structured content that is also its text",
      { content: [{ type: "text", text: JSON.stringify(reasons, null, 1) }], structuredContent: reasons },
      JSON.stringify(reasons, null, 1),
    ],
  ])("is whole for the model: %s", async (_, result, whole) => {
    const server = await started(rawServer({ "tools/call": () => ({ ...result, isError: true }) }));
    const rejected = clientOf(server.url).call();
    await expect(rejected).rejects.toMatchObject({ name: "ToolRejection", whole });
    // A run's error and its events quote it.
    await expect(rejected).rejects.toMatchObject({ message: whole.slice(0, 300) });
  });

  test("has no secret of the server", async () => {
    const structuredContent = { sent: "token tok-123456789" };
    const server = await started(
      rawServer({ "tools/call": () => ({ content: [], structuredContent, isError: true }) }),
    );
    const headers = { Authorization: "Bearer tok-123456789" };
    const rejected = clientOf(server.url, { headers }).call();
    await expect(rejected).rejects.toMatchObject({ whole: expect.not.stringContaining("tok-123456789") });
  });
});

describe("the tools of a server", () => {
  test("are those of all its pages", async () => {
    const pages: { [cursor: string]: object } = {
      "": { tools: [tool("a")], nextCursor: "2" },
      "2": { tools: [tool("b")], nextCursor: "3" },
      "3": { tools: [tool("c")] },
    };
    const server = await started(
      rawServer({ "tools/list": ({ cursor }) => pages[typeof cursor === "string" ? cursor : ""] }),
    );
    expect((await clientOf(server.url).list()).tools.map(({ tool: name }) => name)).toEqual(["a", "b", "c"]);
  });

  test("are those of all pages of a server whose cursor is a number", async () => {
    const server = await started(
      rawServer({
        "tools/list": ({ cursor }) =>
          cursor === "2" ? { tools: [tool("b")] } : { tools: [tool("a")], nextCursor: 2 },
      }),
    );
    expect((await clientOf(server.url).list()).tools.map(({ tool: name }) => name)).toEqual(["a", "b"]);
  });

  test.each(["text/plain; charset=utf-8", "text/html", "application/json-rpc", null])(
    "are read from JSON whose content type is %s",
    async (type) => {
      const server = await started(
        rawServer({ "tools/list": () => ({ tools: [tool("a")] }) }, (response, answer) =>
          response.writeHead(200, type === null ? {} : { "content-type": type }).end(JSON.stringify(answer)),
        ),
      );
      expect((await clientOf(server.url).list()).tools.map(({ tool: name }) => name)).toEqual(["a"]);
    },
  );

  test.each<[string, object]>([
    ["its version", { serverInfo: { name: "x" } }],
    ["its name", { serverInfo: { version: 2 } }],
    ["all of it", {}],
  ])("are those of a server that does not say who it is: %s", async (_, info) => {
    const initialize = () => ({ protocolVersion: "2025-06-18", capabilities: { tools: {} }, ...info });
    const server = await started(rawServer({ initialize, "tools/list": () => ({ tools: [tool("a")] }) }));
    expect((await clientOf(server.url).list()).tools.map(({ tool: name }) => name)).toEqual(["a"]);
  });

  test("whose pages have no end are an error, and no loop", async () => {
    let page = 0;
    const server = await started(
      rawServer({ "tools/list": () => ({ tools: [], nextCursor: String((page += 1)) }) }),
    );
    await expect(clientOf(server.url).list()).rejects.toMatchObject({ name: "ToolRejection" });
    expect(page).toBeLessThan(100);
  });

  // Fails when the library, which refuses a list for one field of one tool, reads the list as the server wrote it.
  test("that can be read are listed beside those that cannot, and fields that this client does not use are no matter", async () => {
    const properties = { q: { type: "string" } };
    const tools = [
      tool("nulls", {
        description: null,
        title: null,
        outputSchema: null,
        annotations: null,
        execution: null,
      }),
      tool("output", {
        outputSchema: { type: "array" },
        icons: "none",
        annotations: { readOnlyHint: "yes" },
      }),
      { name: "untyped", inputSchema: { properties } },
      { name: "types", inputSchema: { type: ["object", "null"], properties } },
      {
        name: "reference",
        inputSchema: { $ref: "#/$defs/R", $defs: { R: { type: "object", properties, required: ["q"] } } },
      },
      { name: "empty", inputSchema: {} },
      { name: "absent" },
      { name: "list", inputSchema: { type: "array" } },
      { name: 7, inputSchema: { type: "object" } },
      "no tool",
    ];
    const server = await started(rawServer({ "tools/list": () => ({ tools, nextCursor: null }) }));
    const listing = await clientOf(server.url).list();
    expect(listing.tools.map(({ tool: name }) => name)).toEqual([
      "nulls",
      "output",
      "untyped",
      "types",
      "reference",
      "empty",
    ]);
    expect(listing.tools[4]).toMatchObject({ inputSchema: { type: "object", properties, required: ["q"] } });
    expect(listing.left_out).toEqual([
      { tool: "absent", reason: expect.stringContaining("inputSchema") },
      { tool: "list", reason: expect.stringContaining("inputSchema") },
      { tool: "", reason: "it has no name" },
      { tool: "", reason: "it has no name" },
    ]);
  });

  // Fails when a name is offered twice, for which providers refuse each request.
  test("are listed once each, however often the server lists them", async () => {
    const tools = [tool("a"), tool("b"), tool("a"), tool("a")];
    const server = await started(rawServer({ "tools/list": () => ({ tools }) }));
    const { tools: offered } = await clientOf(server.url).list();
    expect(offered.map(({ name }) => name)).toEqual(["srv__a", "srv__b"]);
  });

  test("that does not declare that it has any are an error, and not an empty list", async () => {
    const serverInfo = { name: "x", version: "1" };
    const initialize = () => ({ protocolVersion: "2025-11-25", capabilities: {}, serverInfo });
    const server = await started(rawServer({ initialize }));
    await expect(clientOf(server.url).list()).rejects.toMatchObject({
      code: "mcp_answer",
      message: "the MCP server srv does not declare that it has tools",
    });
  });

  // Fails when an agent that names a tool gets another one, because the server lists them in another order.
  test("have the same names in any order of listing", async () => {
    const tools = ["a.b", "a_b", "a b", "c/d", "c.d"].map((name) => tool(name));
    const orders = [tools, tools.toReversed()];
    const server = await started(rawServer({ "tools/list": () => ({ tools: orders.pop() }) }));
    const { list } = clientOf(server.url);
    const named = (listing: McpListing) =>
      Object.fromEntries(listing.tools.map((listed) => [listed.tool, listed.name]));
    const first = named(await list());
    expect(new Set(Object.values(first)).size).toBe(5);
    expect(named(await list())).toEqual(first);
  });

  test("keep apart two names that providers cannot, and leave out one that is too large", async () => {
    const required = Array.from({ length: 120_000 }, () => "a");
    const long = { inputSchema: { type: "object", anyOf: required.map(() => ({})), required } };
    const tools = [
      tool("a.b"),
      tool("a_b"),
      tool("huge", { description: "x".repeat(40_000) }),
      tool("long", long),
    ];
    const server = await started(rawServer({ "tools/list": () => ({ tools }) }));
    const { tools: offered, left_out } = await clientOf(server.url).list();
    const hashed = expect.stringMatching(/^srv__a_b_[0-9a-f]{8}$/);
    expect(offered.map(({ name }) => name)).toEqual([hashed, "srv__a_b"]);
    expect(left_out).toMatchObject([
      { tool: "huge", reason: expect.stringContaining("32768") },
      { tool: "long", reason: expect.stringContaining("32768") },
    ]);
  });
});

/** An answer in which "LONG" and "-LONG" are the bounds of 64 bits, as servers in Java, Go and Rust write them. */
function withBounds(response: ServerResponse, answer: object): void {
  const json = JSON.stringify(answer).replaceAll(/"(-?)LONG"/g, (_, sign: string) =>
    sign === "-" ? "-9223372036854775808" : "9223372036854775807",
  );
  response.writeHead(200, { "content-type": "application/json" }).end(json);
}

describe("a server that writes the bounds of 64 bits", () => {
  // Fails when only a number may stand there, and the bound is read as a text of its digits.
  test("into the schema of a tool has the tool", async () => {
    const id = { type: "integer", minimum: "-LONG", maximum: "LONG" };
    const inputSchema = { type: "object", properties: { id } };
    const server = await started(
      rawServer({ "tools/list": () => ({ tools: [tool("t", { inputSchema })] }) }, withBounds),
    );
    expect(await clientOf(server.url).list()).toMatchObject({
      tools: [{ inputSchema: { properties: { id: { maximum: 2 ** 63, minimum: -(2 ** 63) } } } }],
      left_out: [],
    });
  });
});

describe("the schemas of a server's tools", () => {
  const listed = async (inputSchema: object) => {
    const server = await started(
      rawServer({ "tools/list": () => ({ tools: [tool("t", { inputSchema }), tool("other")] }) }),
    );
    return clientOf(server.url).list();
  };

  // Fails when one schema that providers refuse takes all tools of the server, and of the agent, with it.
  test.each<[string, object, object]>([
    [
      "a choice of arguments",
      {
        anyOf: [
          { properties: { a: {} }, required: ["a", "c"] },
          { properties: { c: {} }, required: ["c"] },
        ],
      },
      { properties: { a: {}, c: {} }, required: ["c"] },
    ],
    [
      "a condition beside the arguments",
      { properties: { a: {} }, oneOf: [{ required: ["a"] }, { required: ["b"] }] },
      { properties: { a: {} }, required: [] },
    ],
    [
      "parts of one set of arguments",
      { allOf: [{ properties: { a: {} }, required: ["a"] }, { properties: { b: {} } }] },
      { properties: { a: {}, b: {} }, required: ["a"] },
    ],
    [
      "PHP's empty table inside",
      { properties: { a: { type: "object", properties: [] } } },
      { properties: { a: { type: "object", properties: {} } } },
    ],
    [
      "Lua's empty list",
      { properties: { a: { type: "object", required: {} } } },
      { properties: { a: { type: "object", required: [] } } },
    ],
    [
      "keywords of null",
      { properties: { a: { type: "string", description: null, minLength: null, default: null } } },
      { properties: { a: { type: "string", default: null } } },
    ],
    [
      "a required argument without a schema",
      { properties: { a: {} }, required: ["a", "b"] },
      { properties: { a: {} }, required: ["a"] },
    ],
  ])("with %s become ones that every provider takes", async (_, schema, expected) => {
    const { tools: offered, left_out } = await listed({ type: "object", ...schema });
    expect(left_out).toEqual([]);
    expect(offered[0]?.inputSchema).toEqual({ type: "object", ...expected });
    const isFlat = JSON.stringify(schema).includes("Of");
    expect(offered[0]?.description.includes("must also fit")).toBe(isFlat);
  });

  test.each<[object, string]>([
    [{ properties: { a: { type: "any" } } }, "inputSchema.properties.a.type"],
    [{ properties: { a: { enum: [] } } }, "inputSchema.properties.a.enum"],
    [{ properties: { a: { $ref: "https://example.com/a" } } }, "inputSchema.properties.a.$ref"],
  ])("that no provider takes, %j, leave that tool out with its reason", async (schema, path) => {
    const { tools: offered, left_out } = await listed({ type: "object", ...schema });
    expect(offered.map(({ tool: name }) => name)).toEqual(["other"]);
    expect(left_out).toMatchObject([{ tool: "t", reason: expect.stringContaining(path) }]);
  });
});

// Fails when a server is given up for its reply to the first question of protocol 2026-07-28, which is for its protocol.
describe("an older server is used whatever it replies to the question for protocol 2026-07-28:", () => {
  const listing = { "tools/list": () => ({ tools: [tool("a")] }) };
  const replying = (reply: (response: ServerResponse, answer: object) => void) =>
    started(
      rawServer(listing, (response, answer) =>
        JSON.stringify(answer).includes("Method not found")
          ? reply(response, answer)
          : writeJson(response, answer),
      ),
    );

  test.each<[string, (response: ServerResponse, answer: object) => void]>([
    ["HTTP 500", (response) => response.writeHead(500).end("Internal Server Error")],
    ["HTTP 501", (response) => response.writeHead(501).end()],
    ["an error without the id", (response, answer) => writeJson(response, { ...answer, id: null })],
    ["an empty body", (response) => response.writeHead(200, { "content-type": "application/json" }).end()],
    ["a page", (response) => response.writeHead(200, { "content-type": "text/html" }).end("<html>")],
    ["no content", (response) => response.writeHead(204).end()],
    ["a stream without an answer", (response) => response.writeHead(200, SSE).end(": hi\n\n")],
  ])("%s", async (_, reply) => {
    const server = await replying(reply);
    expect((await clientOf(server.url).list()).tools.map(({ tool: name }) => name)).toEqual(["a"]);
  });

  test("nothing, for half of the time of a call", async () => {
    const asked = Promise.withResolvers<void>();
    const server = await replying(() => asked.resolve());
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const listed = clientOf(server.url).list();
    await asked.promise;
    await vi.advanceTimersByTimeAsync(60_000);
    vi.useRealTimers();
    expect((await listed).tools.map(({ tool: name }) => name)).toEqual(["a"]);
  });

  test("503, which says that it is away, is reported after one request", async () => {
    const server = await replying((response) => response.writeHead(503).end());
    await expect(clientOf(server.url).list()).rejects.toMatchObject({ code: "tool_unavailable" });
    expect(server.received).toHaveLength(1);
  });
});

describe("the answer of a call", () => {
  const answering = (result: unknown, write = writeJson) =>
    started(rawServer({ "tools/call": () => result }, write));

  test("is text where there is text, and names what is not kept", async () => {
    const content = [
      { type: "text", text: "one" },
      { type: "image", data: "aGk=", mimeType: "image/png" },
      { type: "resource", resource: { uri: "file:///a", text: "two" } },
      { type: "resource_link", uri: "file:///b", name: "b" },
    ];
    const server = await answering({ content });
    expect(await clientOf(server.url).call()).toBe(
      "one\n[image image/png: not kept]\ntwo\n[resource file:///b: b]",
    );
  });

  // Fails when the library gets a part that it does not know, for which it refuses the result of a call that has been carried out.
  test("is read also where the library does not know one of its parts", async () => {
    const content = [
      { type: "text", text: "one" },
      { type: "text", text: 5 },
      { type: "text", text: "two", annotations: { priority: 7, audience: "user" } },
      { type: "json", json: { a: 1 } },
      { type: "image", data: "data:image/png;base64,aGk=", mimeType: "image/png" },
      { type: "image", data: "aGk=" },
      { type: "resource_link", uri: "file:///b" },
      { type: "resource_link", uri: "r:1", name: "q3", title: "Third quarter", description: "Revenue" },
      { type: "resource", resource: { text: "three" } },
      "four",
    ];
    const server = await answering({ content });
    expect(await clientOf(server.url).call()).toBe(
      "one\n5\ntwo\n[json: not kept]\n[image image/png: not kept]\n[image: not kept]\n" +
        "[resource file:///b]\n[resource r:1: Third quarter: Revenue]\nthree\nfour",
    );
  });

  test.each<[string, object, Json]>([
    ["a list", { content: [{ type: "text", text: "two rows" }], structuredContent: [1, 2] }, [1, 2]],
    ["a list without content", { structuredContent: [{ a: 1 }] }, [{ a: 1 }]],
    [
      "an empty table beside a text",
      { content: [{ type: "text", text: "one" }], structuredContent: {} },
      "one",
    ],
    ["an empty table alone", { content: [], structuredContent: {} }, {}],
  ])("whose structured content is %s is read", async (_, result, value) => {
    const server = await answering(result);
    expect(await clientOf(server.url).call()).toEqual(value);
  });

  // Fails when a call that has been carried out has the result "", or none, because its form is not that of the protocol.
  test.each<[string, object, Json]>([
    ["an object of its own", { sum: 5, list: [1] }, { sum: 5, list: [1] }],
    ["that of the first protocol", { toolResult: { sum: 5 } }, { sum: 5 }],
    ["a text in place of the parts", { content: "one" }, "one"],
    ["a part in place of the parts", { content: { type: "text", text: "one" } }, "one"],
    ["nothing", {}, ""],
    ["a success in words", { content: [{ type: "text", text: "one" }], isError: "false" }, "one"],
    ["a success as a number", { content: [{ type: "text", text: "one" }], isError: 0 }, "one"],
  ])("whose result is %s is read", async (_, result, value) => {
    const server = await answering(result);
    expect(await clientOf(server.url).call()).toEqual(value);
  });

  // Fails when the library refuses the result: the call has been carried out, and its result is lost.
  test.each<[string, unknown, unknown]>([
    ["a text", "three rows", "three rows"],
    ["a list of values", [1, { a: null }], [1, { a: null }]],
    [
      "a list of parts",
      [
        { type: "text", text: "one" },
        { type: "text", text: "two" },
      ],
      "one\ntwo",
    ],
    ["an empty list", [], []],
  ])("that is %s in place of an object is read", async (_, result, expected) => {
    expect(await clientOf((await answering(result)).url).call()).toEqual(expected);
  });

  // Fails when a call that has failed is a success, because the server writes a truth value in another form.
  test.each(["true", "True", 1, "yes"])("whose isError is %j is a failure", async (isError) => {
    const server = await answering({ content: [{ type: "text", text: "no" }], isError });
    await expect(clientOf(server.url).call()).rejects.toMatchObject({ name: "ToolRejection", message: "no" });
  });

  // Fails when the library waits for the empty line that ends an event.
  test.each<[string, (response: ServerResponse, data: string) => void]>([
    ["ends without the end of its line", (response, data) => void response.end(data)],
    ["ends without an empty line", (response, data) => void response.end(`${data}\n`)],
    ["stays open without an empty line", (response, data) => void response.write(`${data}\n`)],
    ["stays open without the end of its line", (response, data) => void response.write(data)],
    [
      "comes in two parts and stays open",
      (response, data) => void response.write(data.slice(0, 40), () => response.write(data.slice(40))),
    ],
  ])("as an event that %s is read", async (_, write) => {
    const server = await answering({ structuredContent: { a: 1 } }, (response, answer) => {
      response.writeHead(200, SSE);
      write(response, `event: message\ndata: ${JSON.stringify(answer)}`);
    });
    expect(await clientOf(server.url).call()).toEqual({ a: 1 });
  });

  // Fails when the library gets `_meta` or `error` of null, for which it refuses the whole message.
  test.each<[string, object, object]>([
    ["_meta of the result", { _meta: null, structuredContent: { a: null } }, {}],
    ["error beside a result", { structuredContent: { a: null } }, { error: null }],
  ])("with null as %s is read", async (_, result, members) => {
    const server = await answering(result, (response, answer) =>
      writeJson(response, { ...answer, ...("result" in answer && members) }),
    );
    expect(await clientOf(server.url).call()).toEqual({ a: null });
  });

  // PHP writes an empty table as a list. Some servers list their tools there.
  test.each<[string, object]>([
    ["as empty lists", { tools: [], logging: [], experimental: [] }],
    ["as true", { tools: true, resources: false }],
    ["as the tools themselves", { tools: [{ name: "a" }], prompts: ["b"] }],
  ])("to initialize may declare its capabilities %s", async (_, capabilities) => {
    const initialize = () => ({
      protocolVersion: "2025-06-18",
      capabilities,
      serverInfo: { name: "x", version: "1", icons: "none", title: 1 },
      instructions: ["use it"],
    });
    const server = await started(rawServer({ initialize, "tools/list": () => ({ tools: [] }) }));
    expect(await clientOf(server.url).list()).toEqual({ tools: [], left_out: [] });
  });

  test("to initialize may have null for all that is not set", async () => {
    const initialize = () => ({
      protocolVersion: "2025-06-18",
      capabilities: { tools: { listChanged: null }, logging: null },
      serverInfo: { name: "x", version: "1", title: null },
      instructions: null,
      _meta: null,
    });
    const server = await started(
      rawServer({ initialize, "tools/list": () => ({ tools: null }) }, (response, answer) =>
        writeJson(response, "error" in answer ? { ...answer, result: null } : answer),
      ),
    );
    expect(await clientOf(server.url).list()).toEqual({ tools: [], left_out: [] });
  });

  test("that refuses the arguments has the data of the error for the model", async () => {
    const data = { errors: [{ field: "q", reason: "is required" }] };
    const server = await answering({ content: [] }, (response, answer) => {
      if (!JSON.stringify(answer).includes('"result":{"content":[]}')) return writeJson(response, answer);
      writeJson(response, {
        jsonrpc: "2.0",
        id: Object(answer).id,
        error: { code: -32_602, message: "Invalid params", data },
      });
    });
    await expect(clientOf(server.url).call()).rejects.toMatchObject({
      message: "the MCP server srv: Invalid params",
      whole: `the MCP server srv: Invalid params\n${JSON.stringify(data)}`,
    });
  });

  // Fails when the library gets the fields of null, for which it refuses the whole result.
  test("is read also where it has fields of null, which serializers write for what is not set", async () => {
    const part = { type: "text", text: "one", annotations: null, _meta: null };
    const texts = await answering({ content: [part], structuredContent: null, isError: null });
    expect(await clientOf(texts.url).call()).toBe("one");
    const structured = await answering({ content: null, structuredContent: { a: null } });
    expect(await clientOf(structured.url).call()).toEqual({ a: null });
  });

  // Fails when the error has all that the library's schemas find wrong, as JSON of many lines.
  test("that the protocol does not have is reported with its first fault", async () => {
    const server = await answering({ content: 5 });
    await expect(clientOf(server.url).call()).rejects.toMatchObject({
      code: "mcp_answer",
      message: expect.stringMatching(/no MCP: Invalid result for tools\/call: content [^[{\n]+$/),
    });
  });

  // Fails when the status alone counts: the call is then made three times, and fails the step.
  test.each([400, 500])("that is an error under HTTP %i is reported with its message", async (status) => {
    const server = await answering({ content: [] }, (response, answer) => {
      if (!JSON.stringify(answer).includes('"result":{"content":[]}')) return writeJson(response, answer);
      const { id } = Object(answer);
      const error = { code: -32_603, message: "no such row" };
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify({ jsonrpc: "2.0", id, error }));
    });
    await expect(clientOf(server.url).call()).rejects.toMatchObject({
      name: "ToolRejection",
      code: "tool_rejected",
      message: "the MCP server srv: no such row",
    });
  });

  // Fails when the library refuses the error for its form: the model does not get to know what is wrong.
  test.each<[string, unknown, string]>([
    ["without a code", { message: "no such row" }, "no such row"],
    ["with a code of null", { code: null, message: "no such row" }, "no such row"],
    ["with digits as its code", { code: "-32602", message: "no such row" }, "no such row"],
    ["with a word as its code", { code: "NO_ROW", message: "no such row" }, "NO_ROW: no such row"],
    ["with a fraction as its code", { code: 1.5, message: "no such row" }, "no such row"],
    ["that is a text", "no such row", "no such row"],
    ["without a message", { code: -32602, data: { row: 7 } }, '{"code":-32602,"data":{"row":7}}'],
  ])("that is an error %s is reported with what it says", async (_, error, said) => {
    const server = await answering({ content: [] }, (response, answer) =>
      JSON.stringify(answer).includes('"result":{"content":[]}')
        ? writeJson(response, { jsonrpc: "2.0", id: Object(answer).id, error })
        : writeJson(response, answer),
    );
    await expect(clientOf(server.url).call()).rejects.toMatchObject({
      name: "ToolRejection",
      code: "tool_rejected",
      message: `the MCP server srv: ${said}`,
    });
  });

  test("has an id that the requests of other connections do not have, because gateways send all answers to all clients", async () => {
    const ids: unknown[] = [];
    const server = await answering({ content: [] }, (response, answer) => {
      if ("result" in answer && JSON.stringify(answer.result) === '{"content":[]}' && "id" in answer)
        ids.push(answer.id);
      writeJson(response, answer);
    });
    await Promise.all([clientOf(server.url).call(), clientOf(server.url).call()]);
    expect(new Set(ids).size).toBe(2);
  });

  test("that asks for input, as a server of protocol 2026-07-28 may and this one not, is reported to the model", async () => {
    const server = await answering({ resultType: "input_required", inputRequests: {} });
    await expect(clientOf(server.url).call()).rejects.toMatchObject({ name: "ToolRejection" });
  });

  test("is decoded when the server compresses it without being asked to", async () => {
    const server = await answering({ content: [{ type: "text", text: "small" }] }, (response, answer) => {
      response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" });
      response.end(zlib.gzipSync(JSON.stringify(answer)));
    });
    expect(await clientOf(server.url).call()).toBe("small");
  });

  // Fails when MCP servers are read by other rules than tools of HTTP.
  test.each<[string, (body: string) => Uint8Array | string]>([
    ["deflate", (body) => zlib.deflateRawSync(body)],
    ["deflate, gzip", (body) => zlib.gzipSync(zlib.deflateSync(body))],
    ["gzip, aws-chunked", (body) => zlib.gzipSync(body)],
    ["utf-8", (body) => body],
  ])("is decoded from %s", async (encoding, encode) => {
    const server = await answering({ content: [{ type: "text", text: "small" }] }, (response, answer) => {
      response.writeHead(200, { "content-type": "application/json", "content-encoding": encoding });
      response.end(encode(JSON.stringify(answer)));
    });
    expect(await clientOf(server.url).call()).toBe("small");
  });

  // Fails when the limit counts what arrives: a small body may hold a gigabyte.
  test("is limited by what comes out of the decoder", async () => {
    const server = await answering(
      { content: [{ type: "text", text: "x".repeat(4_000_000) }] },
      (response, answer) => {
        response.writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" });
        response.end(zlib.gzipSync(JSON.stringify(answer)));
      },
    );
    await expect(clientOf(server.url).call()).rejects.toMatchObject({
      name: "ToolRejection",
      code: "answer_too_large",
    });
  });

  test("has no credential when the server quotes what it received", async () => {
    const server = await answering({ content: [{ type: "text", text: "you sent Bearer sesame-1234-abcd" }] });
    const credentials = { headers: { Authorization: "Bearer sesame-1234-abcd" } };
    expect(await clientOf(server.url, credentials).call()).toBe("you sent ***");
  });

  test("is not requested when an argument has more digits than JavaScript can write", async () => {
    const server = await answering({ content: [] });
    const schema = { type: "object", properties: { id: { type: "integer" } } };
    await expect(clientOf(server.url).call({ id: "12345678901234567890" }, schema)).rejects.toMatchObject({
      name: "ToolRejection",
      message: expect.stringContaining("id"),
    });
    expect(server.received).toEqual([]);
    // The same for an argument inside an object.
    const nested = { type: "object", properties: { filter: schema } };
    await expect(
      clientOf(server.url).call({ filter: { id: "12345678901234567890" } }, nested),
    ).rejects.toMatchObject({ message: expect.stringContaining("filter.id") });
    expect(server.received).toEqual([]);
  });

  // Fails when an id of 64 bits in a structured answer comes out with other digits.
  test.each<[string, (response: ServerResponse, json: string) => void]>([
    [
      "JSON",
      (response, json) => void response.writeHead(200, { "content-type": "application/json" }).end(json),
    ],
    [
      "a stream",
      (response, json) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        const half = json.indexOf("9007") + 5;
        response.write(`id: 12345678901234567\r\ndata: ${json.slice(0, half)}`);
        response.end(`${json.slice(half)}\r\n\r\n`);
      },
    ],
  ])("as %s keeps the digits of integers beyond 2^53, as texts of them", async (_kind, write) => {
    const structuredContent = { id: "LONG", list: ["LONG", 7, "9007199254740993"] };
    const server = await answering({ content: [], structuredContent }, (response, answer) =>
      write(response, JSON.stringify(answer).replaceAll('"LONG"', "9007199254740993")),
    );
    expect(await clientOf(server.url).call()).toEqual({
      id: "9007199254740993",
      list: ["9007199254740993", 7, "9007199254740993"],
    });
  });
});

// Fails when the connection is given up, or taken for one of the oldest transport.
test.each([400, 404, 405])("a server that refuses notifications with HTTP %i is used", async (status) => {
  const server = await started(rawServer({ "tools/call": () => ({ content: [] }) }, writeJson, status));
  expect(await clientOf(server.url).call()).toBe("");
});

// Fails when a message of a megabyte holds a worker, and the runs of all tenants on it, for a minute.
test.each([
  `["protocolVersion":${'"protocolVersion":'.repeat(60_000)}1]`,
  `{"protocolVersion":1,"a":${" ".repeat(1_000_000)}1}`,
  `{"error"${" ".repeat(1_000_000)}:1}`,
  `{${'"result": '.repeat(100_000)}}`,
])("is searched for members that are not set in linear time: %.24s", (json) => {
  const startedAt = cpuMs();
  withReadableMembers(json);
  expect(cpuMs() - startedAt).toBeLessThan(2_000);
});
