import { describe, expect, test } from "vitest";
import { clip } from "../../../worker-node/engine/prompt.ts";
import type { Message, ModelRequest } from "../../../worker-node/engine/ports.ts";
import { aProvider } from "./model-run.ts";
import { createModels } from "../../../worker-node/models/create-models.ts";
import { an, go as gemini, oc, refusal, text, whole } from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

// Servers refuse forms of a request that others take.

const { server } = aProvider();

function generate(model: string, messages: Message[], more: Partial<ModelRequest> = {}) {
  return server.models().generate({ ...requestOf(model, messages), ...more });
}

function requestOf(model: string, messages: Message[]): ModelRequest {
  return {
    model,
    messages,
    tools: [],
    toolChoice: "auto",
    effectKey: "k",
    signal: new AbortController().signal,
    onText: () => {},
  };
}

/** Refuses with `message` while the body has `word`. */
function refusing(status: number, word: string, message: string, answer: string): Answer {
  return (response, request) => {
    if (JSON.stringify(request.body).includes(word))
      return refusal(status, { error: { message, type: "BadRequestError" } })(response, request);
    response.writeHead(200, { "content-type": "text/event-stream" }).end(answer);
  };
}

/** The schema of the tool of a request, in the format of its provider. */
function schemaIn(body: string): unknown {
  let schema: unknown;
  JSON.parse(body, (name, value: unknown) => {
    if (["parameters", "input_schema", "parametersJsonSchema"].includes(name)) schema = value;
    return value;
  });
  return schema;
}

const bodyOf = (request: number): string => JSON.stringify(server.requests[request]?.body);
const go: Message = { role: "user", content: "go" };

// Fails when the half is sent as it is, or a text that speaks of one is changed.
test.each([oc, an])("%s: half a character is sent as U+FFFD", async (model) => {
  server.reset(whole(model, "fine"));
  const spoken = "\\ud83d";
  await generate(model, [{ role: "user", content: `a\ud83d b${spoken} 😀\n"c" \udc00` }]);
  expect(bodyOf(0)).toContain(JSON.stringify(`a\ufffd b${spoken} 😀\n"c" \ufffd`).slice(1, -1));
});

// vercel/ai #15542, garrytan/gbrain #1250, ys-ll/uniterm PR 365: other clients of these APIs add the version to the base URL themselves.
test.each([
  [an, "ANTHROPIC_BASE_URL", "", "/v1/messages"],
  [an, "ANTHROPIC_BASE_URL", "/v1", "/v1/messages"],
  [an, "ANTHROPIC_BASE_URL", "/v1/account/gateway/anthropic/", "/v1/account/gateway/anthropic/v1/messages"],
  [gemini, "GOOGLE_BASE_URL", "", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"],
  [gemini, "GOOGLE_BASE_URL", "/v1beta/", "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"],
  [
    gemini,
    "GOOGLE_BASE_URL",
    "/v1/publishers/google",
    "/v1/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
  ],
])("%s: a request with %s at %j goes to %s", async (model, name, path, sent) => {
  server.reset(whole(model, "fine"));
  const keys = { ANTHROPIC_API_KEY: "k", GEMINI_API_KEY: "k" };
  const models = createModels({ ...keys, [name]: `${server.url}${path}` }, 10_000);
  await models.generate(requestOf(model, [go]));
  expect(server.requests[0]?.path).toBe(sent);
});

// BerriAI/litellm #18145, anthropics/claude-code #49370: the package asks for a beta with each tool, and gateways refuse those they do not know.
test("no beta of Anthropic is asked for", async () => {
  server.reset(whole(an, "fine"));
  await generate(an, [go], { tools: [{ name: "t", description: "", parameters: { type: "object" } }] });
  expect(server.requests[0]?.headers).not.toHaveProperty("anthropic-beta");
});

// danny-avila/LibreChat #13209, vercel/ai PR 10260: Bedrock refuses an empty one.
test.each([oc, an])("%s: a tool without a description is sent without one", async (model) => {
  server.reset(whole(model, "fine"));
  await generate(model, [go], { tools: [{ name: "t", description: " ", parameters: { type: "object" } }] });
  expect(bodyOf(0)).toContain('"name":"t"');
  expect(bodyOf(0)).not.toContain("description");
});

test("no limit cuts a character in two", () => {
  expect(clip("abc😀def", 4)).toBe("abc\n[5 characters left out]");
  expect(clip("abc😀def", 5)).toBe("abc😀\n[3 characters left out]");
});

test("messages of the user that follow each other are one: templates want the roles to alternate", async () => {
  server.reset(text("fine"));
  const images = ["data:image/png;base64,aaaa"];
  const answer: Message = { role: "assistant", content: "yes" };
  await generate(oc, [go, { role: "user", content: "summary" }, answer, go, { ...go, images }]);
  expect(server.requests[0]?.body.messages).toMatchObject([
    { role: "user", content: "go\n\nsummary" },
    { role: "assistant", content: "yes" },
    { role: "user", content: [{ text: "go" }, { text: "go" }, { type: "image_url" }] },
  ]);
});

// vercel/ai #17588. Fails when answers of models behind Anthropic's form end at 4,096 tokens as if that were the model's limit.
test.each([
  ["anthropic/kimi-k2", {}, 32_768],
  [an, {}, 64_000],
  ["anthropic/kimi-k2", { maxOutputTokens: 7 }, 7],
])("%s %j: the limit of an answer is %i tokens", async (model, more, limit) => {
  server.reset(whole(an, "fine"));
  await generate(model, [go], more);
  expect(server.requests[0]?.body).toMatchObject({ max_tokens: limit });
});

describe("a request that is refused", () => {
  const called: Message[] = [
    go,
    {
      role: "assistant",
      content: "",
      tool_calls: [
        { id: "functions.lookup:0", name: "lookup", args: {} },
        { id: "functions.lookup:1", name: "lookup", args: {} },
      ],
    },
    { role: "tool", tool_call_id: "functions.lookup:0", tool_name: "lookup", content: "one" },
    { role: "tool", tool_call_id: "functions.lookup:1", tool_name: "lookup", content: "two" },
  ];

  // An agent's model may change between two turns: a budget takes a cheaper one.
  test.each([
    [an, "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"],
    [oc, "Tool call id was functions.lookup:0 but must be a-z, A-Z, 0-9, with a length of 9."],
    [oc, "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40"],
    [oc, "Invalid 'messages[2].tool_call_id': string too long. Expected a string with maximum length 64"],
  ])("%s: for the ids of its calls is sent with others: %s", async (model, message) => {
    server.reset(refusing(400, "functions.lookup:", message, whole(model, "fine")));
    expect(await generate(model, called)).toMatchObject({ text: "fine" });
    const ids = [...bodyOf(1).matchAll(/"(?:id|tool_call_id|tool_use_id)":"([^"]*)"/g)].map(([, id]) => id);
    expect(ids).toHaveLength(4);
    expect(ids).toEqual([ids[0], ids[1], ids[0], ids[1]]);
    expect(new Set(ids).size).toBe(2);
    for (const id of ids) expect(id).toMatch(/^[a-zA-Z0-9]{9}$/);
    expect(server.requests[1]?.headers).toMatchObject({ "idempotency-key": "k.without.call_ids" });
  });

  test.each([
    [400, "System role not supported"],
    [500, "Jinja Exception: System role not supported"],
    [400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."],
  ])("for its system message has it before the user's: %s %s", async (status, message) => {
    server.reset(refusing(status, '"role":"system"', message, text("fine")));
    expect(await generate(oc, [{ role: "system", content: "Be brief." }, go])).toMatchObject({
      text: "fine",
    });
    expect(server.requests[1]?.body.messages).toEqual([{ role: "user", content: "Be brief.\n\ngo" }]);
  });

  test.each([
    "max_tokens: 32768 > 8192, which is the maximum allowed number of output tokens",
    "max_tokens is too large: 32768. This model supports at most 16384 completion tokens",
    "input length and `max_tokens` exceed context limit: 20 + 32768 > 32768",
    "maximum context length is 32768 tokens. However, you requested 32788 tokens (20 in the messages, 32768 in the completion)",
  ])("for our own limit of its answer has the smaller one: %s", async (message) => {
    server.reset(refusing(400, '"max_tokens":32768', message, whole(an, "fine")));
    expect(await generate("anthropic/kimi-k2", [go])).toMatchObject({ text: "fine" });
    expect(server.requests[1]?.body).toMatchObject({ max_tokens: 4_096 });
  });

  // Fails when a conversation that comes from another provider is refused for ever: each refusal names one thing alone.
  test("for two things, one after the other, is sent without both", async () => {
    server.reset((response, request) => {
      const body = JSON.stringify(request.body);
      const message = body.includes("functions.lookup:")
        ? "Tool call id was functions.lookup:0 but must be a-z, A-Z, 0-9, with a length of 9."
        : "System role not supported";
      if (message.startsWith("Tool") || body.includes('"role":"system"'))
        return refusal(400, { error: { message } })(response, request);
      response.writeHead(200, { "content-type": "text/event-stream" }).end(text("fine"));
    });
    const messages: Message[] = [{ role: "system", content: "Be brief." }, ...called];
    expect(await generate(oc, messages)).toMatchObject({ text: "fine" });
    expect(server.requests.map(({ headers }) => headers["idempotency-key"])).toEqual([
      "k",
      "k.without.call_ids",
      "k.without.call_ids.system",
    ]);
  });

  // OpenHands/OpenHands #4838, #7167, modelcontextprotocol/servers #799. Fails when each request that offers such a tool is refused.
  test.each<[string, Message[], string, Message[]]>([
    ["a system message", [{ role: "system", content: "Be brief." }, go], "Be brief.\n\n", [go]],
    ["none", [go], "", [go]],
  ])(
    "for a long description of a tool has its beginning, and the whole beside %s",
    async (_, messages, before, after) => {
      const description = `${"😀".repeat(600)} the end`;
      const message =
        "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024, but got a string with length 1208 instead.";
      server.reset(refusing(400, `${description}","parameters`, message, text("fine")));
      const parameters = { type: "object", properties: {} };
      const tools = [
        { name: "t", description, parameters },
        { name: "u", description: "short", parameters },
      ];
      expect(await generate(oc, messages, { tools })).toMatchObject({ text: "fine" });
      expect(server.requests[1]?.body).toMatchObject({
        tools: [
          { function: { name: "t", description: `${"😀".repeat(511)}…` } },
          { function: { name: "u", description: "short" } },
        ],
        messages: [
          { role: "system", content: `${before}The whole description of the tool t:\n${description}` },
          ...after,
        ],
      });
    },
  );

  test("for the older name of its output limit has the newer one", async () => {
    const message =
      "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    server.reset(refusing(400, '"max_tokens"', message, text("fine")));
    expect(await generate(oc, [go], { maxOutputTokens: 7 })).toMatchObject({ text: "fine" });
    expect(server.requests[1]?.body).toMatchObject({ max_completion_tokens: 7 });
  });

  const lookup = { name: "lookup", description: "d", parameters: { type: "object", properties: {} } };

  // anthropics/claude-agent-sdk-python #694, DotHarness/dotcraft PR 282: the SDK sends the field unasked.
  test("for the field that asks for streamed arguments of tools is sent again without it", async () => {
    const message = "tools.0.custom.eager_input_streaming: Extra inputs are not permitted";
    server.reset(refusing(400, '"eager_input_streaming"', message, whole(an, "fine")));
    expect(await generate(an, [go], { tools: [lookup] })).toMatchObject({ text: "fine" });
    expect(server.requests[1]?.body).toMatchObject({ tools: [{ name: "lookup", description: "d" }] });
  });

  // pal-mcp-server #134, charmbracelet/crush #422; n8n-io/n8n #13112, danny-avila/LibreChat #7408.
  test.each([
    [400, "Your organization must be verified to stream this model. Please go to: x"],
    [500, "Cannot use tools with stream"],
    [422, "Streaming is not supported for this model"],
  ])("for its stream asks for a whole answer: %i %s", async (status, message) => {
    const choices = [{ index: 0, message: { role: "assistant", content: "fine" }, finish_reason: "stop" }];
    const answer = JSON.stringify({ object: "chat.completion", choices, usage: { prompt_tokens: 3 } });
    server.reset(refusing(status, '"stream":true', message, answer));
    expect(await generate(oc, [go], { tools: [lookup] })).toMatchObject({ text: "fine" });
    expect(server.requests[1]?.body).not.toHaveProperty("stream_options");
  });

  // lmstudio-ai/lmstudio-bug-tracker #261, SAIL-Research-Lab/cheetahclaws PR 72, mistralai/mistral-common #324, livekit/agents #2403.
  test.each([
    "invalid message content type: <nil>",
    "Invalid 'content': 'content' field must be a string or an array of objects.",
    "messages.1.content: Input should be a valid string",
    "'NoneType' object is not iterable",
  ])("for a call without a text has an empty text: %s", async (message) => {
    server.reset(refusing(400, '"content":null', message, text("fine")));
    expect(await generate(oc, called)).toMatchObject({ text: "fine" });
    expect(server.requests[1]?.body.messages[1]).toMatchObject({ role: "assistant", content: "" });
  });

  // charmbracelet/crush #2696, NousResearch/hermes-agent PR 17341, mastra-ai/mastra #12592, can1357/oh-my-pi PR 788: an empty text is refused too.
  test.each([
    "thinking is enabled but reasoning_content is missing in assistant tool call message at index 1",
    "The `reasoning_content` in the thinking mode must be passed back to the API.",
  ])("for answers without a thought has a blank one in each: %s", async (message) => {
    server.reset((response, request) => {
      const answers = request.body.messages.filter(({ role }) => role === "assistant");
      if (answers.some(({ reasoning_content: thought, content }) => !thought || content === null))
        return refusal(400, { error: { message } })(response, request);
      response.writeHead(200, { "content-type": "text/event-stream" }).end(text("fine"));
    });
    const thought = { content: [], message: { openaiCompatible: { reasoning_content: "hm" } } };
    const messages: Message[] = [...called, { role: "assistant", content: "yes", parts: thought }, go];
    expect(await generate(oc, [...messages])).toMatchObject({ text: "fine" });
    expect(server.requests).toHaveLength(2);
  });

  // sbroenne/mcp-server-excel #607, github/copilot-cli #4623, google-gemini/gemini-cli #4400, router-for-me/CLIProxyAPI PR 1076.
  test.each([
    [
      oc,
      400,
      "GenerateContentRequest.tools[0].function_declarations[0].parameters.properties[mode].enum[1]: cannot be empty",
    ],
    [oc, 400, "Invalid schema for function 't': In context=('properties', 'mode'), ..."],
    [an, 400, "tools.0.custom.input_schema: JSON schema is invalid. It must match draft 2020-12"],
    [gemini, 400, "Unable to submit request because t functionDeclaration schema didn't specify the type"],
  ])("%s: for the schema of a tool has it in plain keywords: %i %s", async (model, status, message) => {
    const parameters = {
      type: "object",
      properties: {
        mode: { type: "string", enum: ["fast", ""], description: "How." },
        level: { enum: [0, 1] },
        rows: { type: ["array", "null"], items: { $ref: "#/$defs/row" } },
        any: true,
      },
      required: ["mode"],
      additionalProperties: false,
      $defs: {
        row: { anyOf: [{ type: "null" }, { type: "object", properties: { n: { type: "integer" } } }] },
      },
    };
    server.reset(refusing(status, '"additionalProperties"', message, whole(model, "fine")));
    const tools = [{ name: "t", description: "d", parameters }];
    expect(await generate(model, [go], { tools })).toMatchObject({ text: "fine" });
    const row = { type: "object", properties: { n: { type: "integer" } } };
    expect(schemaIn(bodyOf(1))).toEqual({
      type: "object",
      properties: {
        mode: { type: "string", enum: ["fast"], description: 'How. JSON Schema: {"enum":["fast",""]}' },
        level: { type: "integer", description: 'JSON Schema: {"enum":[0,1]}' },
        rows: { type: "array", items: row, description: 'JSON Schema: {"type":["array","null"]}' },
        any: { type: "string", description: "Any JSON value" },
      },
      required: ["mode"],
    });
  });

  // Fails when each property of a schema that contains itself is such a schema again, eight levels deep: 390,000 of them.
  test("for a schema that contains itself several times has no more than a few hundred schemas", async () => {
    const itself = { $ref: "#" };
    const properties = { and: itself, or: itself, not: itself, left: itself, right: itself };
    const message = "Invalid schema for function 't': recursion is not supported";
    server.reset(refusing(400, '"$ref"', message, whole(oc, "fine")));
    const tools = [{ name: "t", description: "d", parameters: { type: "object", properties } }];
    expect(await generate(oc, [go], { tools })).toMatchObject({ text: "fine" });
    expect(JSON.stringify(schemaIn(bodyOf(1))).length).toBeLessThan(100_000);
  });

  // BerriAI/litellm PR 34569, danny-avila/LibreChat #14231: also where the request names no effort.
  test("for tools beside an effort of reasoning is sent again with the effort none", async () => {
    const message =
      "Function tools with reasoning_effort are not supported for gpt-5.6 in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.";
    const models = server.models();
    server.reset((response, request) => {
      const { tools, reasoning_effort: effort } = request.body;
      if (tools !== undefined && effort !== "none")
        return refusal(400, { error: { message, param: "reasoning_effort" } })(response, request);
      response.writeHead(200, { "content-type": "text/event-stream" }).end(text("fine"));
    });
    const request = requestOf("openai/gpt-5.6", [go]);
    expect(await models.generate({ ...request, tools: [lookup] })).toMatchObject({ text: "fine" });
    await models.generate({ ...request, tools: [lookup] });
    await models.generate(request);
    expect(server.requests.map(({ body }) => body["reasoning_effort"])).toEqual([
      undefined,
      "none",
      "none",
      undefined,
    ]);
  });

  // tashfeenahmed/freellmapi PR 263 (NVIDIA NIM), natefleming/dao-ai PR 94 (Databricks): templates of Llama's models.
  test.each([
    [400, "This model only supports single tool-calls at once!"],
    [500, "This model only supports single tool-calls at once!"],
    [400, "Multiple tool calls are not supported."],
  ])(
    "for two calls in one answer has an answer for each, with its result: %i %s",
    async (status, message) => {
      server.reset((response, request) => {
        if (request.body.messages.some(({ tool_calls: calls }) => Array.isArray(calls) && calls.length > 1))
          return refusal(status, { error: { message } })(response, request);
        response.writeHead(200, { "content-type": "text/event-stream" }).end(text("fine"));
      });
      expect(await generate(oc, [...called, { role: "assistant", content: "so" }, go])).toMatchObject({
        text: "fine",
      });
      const call = (id: string) => ({ role: "assistant", tool_calls: [{ id }] });
      expect(server.requests[1]?.body.messages).toMatchObject([
        { role: "user" },
        call("functions.lookup:0"),
        { role: "tool", content: "one" },
        call("functions.lookup:1"),
        { role: "tool", content: "two" },
        { role: "assistant", content: "so" },
        { role: "user" },
      ]);
    },
  );

  // jeremychone/rust-genai PR 115, pydantic/pydantic-ai #3881: Gemini behind OpenAI's form.
  test("for calls of another model is sent again with a mark on these calls", async () => {
    const mark = '"extra_content":{"google":{"thought_signature":"skip_thought_signature_validator"}}';
    const message = "Function call is missing a thought_signature in functionCall parts.";
    server.reset((response, request) => {
      if (!JSON.stringify(request.body).includes(mark))
        return refusal(400, [{ error: { code: 400, message } }])(response, request);
      response.writeHead(200, { "content-type": "text/event-stream" }).end(text("fine"));
    });
    expect(await generate(oc, called)).toMatchObject({ text: "fine" });
    expect(bodyOf(1).split(mark)).toHaveLength(3);
  });
});
