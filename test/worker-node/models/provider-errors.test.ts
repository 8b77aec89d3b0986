import { describe, expect, test } from "vitest";
import { aProvider, ag1, llm1, runStep } from "./model-run.ts";
import { createModels } from "../../../worker-node/models/create-models.ts";
import { DONE, ProviderServer, an, call, event, go, half, oc, refusal, text } from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

// The error bodies of providers and gateways that differ from OpenAI's, as their documentation or their users show them.

const { server } = aProvider();
const run = (answer: Answer) =>
  runStep(server, { ...llm1, model: oc, retry: { attempts: 2, base_seconds: 0.01, max_seconds: 0.01 } }, [
    answer,
  ]);

const tooLarge =
  "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens must be reduced in order to run successfully.";

// Fails when the status or a generic code decides, and the specific word or sentence is not read.
describe("an error that no other try can avoid ends the step at once", () => {
  test.each<[string, number, string | object, string]>([
    ["Azure's content filter", 400, { error: { code: "content_filter", message: "m" } }, "content_filter"],
    [
      "OpenRouter's moderation",
      403,
      { error: { code: 403, message: "Your input was flagged", metadata: { reasons: ["violence"] } } },
      "content_filter",
    ],
    ["Azure's deployment", 404, { error: { code: "DeploymentNotFound", message: "m" } }, "unknown_model"],
    ["Mistral's model", 400, { object: "error", message: "m", type: "invalid_model" }, "unknown_model"],
    [
      "OpenRouter's model",
      400,
      { error: { code: 400, message: "foo/bar is not a valid model ID" } },
      "unknown_model",
    ],
    [
      "a model that is named in words",
      400,
      { error: { message: "The model `x` does not exist.", type: "invalid_request_error" } },
      "unknown_model",
    ],
    ["a model that is withdrawn", 410, { error: { message: "m" } }, "unknown_model"],
    [
      "DeepSeek's balance",
      402,
      { error: { message: "Insufficient Balance", code: "invalid_request_error" } },
      "model_unauthorized",
    ],
    ["Together's credit", 429, { error: { message: "m", type: "credit_limit" } }, "model_unauthorized"],
    [
      "xAI's credit",
      403,
      { code: "m", error: "Your team has used all available credits" },
      "model_unauthorized",
    ],
    ["DashScope's quota", 403, { code: "AllocationQuota.FreeTierOnly", message: "m" }, "model_unauthorized"],
    [
      "MiniMax's balance",
      200,
      { choices: null, base_resp: { status_code: 1008, status_msg: "insufficient balance" } },
      "model_unauthorized",
    ],
    [
      "credit in an event under an error status",
      429,
      'event: error\ndata: {"error":{"code":"insufficient_quota"}}\n\n',
      "model_unauthorized",
    ],
    ["xAI's key", 400, { code: "m", error: "Incorrect API key provided: x" }, "model_unauthorized"],
    ["Mistral's key", 401, { detail: "Unauthorized" }, "model_unauthorized"],
    [
      "OpenAI's request that exceeds a rate by itself",
      429,
      { error: { message: tooLarge, type: "tokens", code: "rate_limit_exceeded" } },
      "model_bad_request",
    ],
    [
      "Groq's request that exceeds a rate by itself",
      413,
      { error: { message: "m", type: "tokens", code: "rate_limit_exceeded" } },
      "model_bad_request",
    ],
    [
      "the budget of a key at LiteLLM",
      400,
      {
        error: {
          message: "Budget has been exceeded! Current cost: 1.2",
          type: "budget_exceeded",
          code: "400",
        },
      },
      "model_unauthorized",
    ],
    [
      "the limit of a key at OpenRouter",
      403,
      { error: { message: "Key limit exceeded (total limit).", code: 403 } },
      "model_unauthorized",
    ],
    [
      "SiliconFlow's balance",
      403,
      { code: 30001, message: "Sorry, your account balance is insufficient", data: null },
      "model_unauthorized",
    ],
    [
      "Gemini's prepaid credit",
      429,
      { error: { message: "Your prepayment credits are depleted.", status: "RESOURCE_EXHAUSTED" } },
      "model_unauthorized",
    ],
    [
      "Gemini's spending cap",
      429,
      {
        error: {
          message: "Your project has exceeded its monthly spending cap.",
          status: "RESOURCE_EXHAUSTED",
        },
      },
      "model_unauthorized",
    ],
    [
      "Volcengine's filter",
      400,
      { error: { code: "InputTextSensitiveContentDetected", message: "may contain sensitive information" } },
      "content_filter",
    ],
    [
      "Zhipu's filter",
      400,
      {
        error: {
          code: "1301",
          message: "The system detected potentially unsafe or sensitive content in input.",
        },
      },
      "content_filter",
    ],
    ["a wrong path", 405, "Method not allowed", "model_bad_request"],
    ["another type of body", 415, "<html>Unsupported Media Type</html>", "model_bad_request"],
    ["a law of the place", 451, "", "model_unauthorized"],
    [
      "Gemini's place",
      400,
      {
        error: { message: "User location is not supported for the API use.", status: "FAILED_PRECONDITION" },
      },
      "model_unauthorized",
    ],
    [
      "Gemini's model that the account has no part of",
      429,
      { error: { message: "Quota exceeded for metric: free_tier, limit: 0", status: "RESOURCE_EXHAUSTED" } },
      "model_unauthorized",
    ],
    ["a refusal under status 200", 200, { message: "Unauthorized", status: 401 }, "model_unauthorized"],
    // anthropics/claude-code #58367, theopenco/llmgateway PR 1785, Portkey-AI/gateway PR 1740.
    [
      "Anthropic's filter",
      400,
      {
        type: "error",
        error: { type: "invalid_request_error", message: "Output blocked by content filtering policy" },
      },
      "content_filter",
    ],
    [
      "xAI's filter",
      403,
      { code: "permission-denied", error: "Content violates usage guidelines." },
      "content_filter",
    ],
    ["Portkey's guardrail", 446, { error: { message: "m", type: "hooks_failed" } }, "content_filter"],
    [
      "Cloudflare's guardrail",
      424,
      { success: false, errors: [{ code: 2016, message: "Prompt blocked due to security configurations" }] },
      "content_filter",
    ],
    [
      "OpenAI's moderation",
      400,
      { error: { code: "moderation_blocked", message: "m", type: "user_error" } },
      "content_filter",
    ],
    [
      "Azure's filter in words",
      400,
      { error: { message: "The prompt triggered Azure OpenAI's content management policy." } },
      "content_filter",
    ],
    [
      "Zhipu's filter in Chinese",
      400,
      { error: { code: "1301", message: "可能包含不安全或敏感内容" } },
      "content_filter",
    ],
    [
      "MiniMax's filter",
      200,
      { base_resp: { status_code: 1026, status_msg: "input new_sensitive" } },
      "content_filter",
    ],
    // amd/gaia #3766.
    [
      "Fireworks' account",
      412,
      { error: { code: "PRECONDITION_FAILED", message: "Account x is suspended: monthly spending limit" } },
      "model_unauthorized",
    ],
    ["a condition that is not met", 412, { error: { message: "m" } }, "model_bad_request"],
    [
      "a limit on spending",
      429,
      { error: { message: "You reached your monthly spend limit." } },
      "model_unauthorized",
    ],
    ["Novita's balance", 403, { reason: "NOT_ENOUGH_BALANCE", message: "m" }, "model_unauthorized"],
    [
      "the quota of a key at new-api",
      403,
      { error: { message: "m", type: "new_api_error", code: "pre_consume_token_quota_failed" } },
      "model_unauthorized",
    ],
    ["a trial that is over", 400, { error: { message: "Your free trial has ended." } }, "model_unauthorized"],
    [
      "the credit behind Databricks",
      400,
      {
        error_code: "BAD_REQUEST",
        message: '{"external_model_error":{"error":{"message":"m","code":"insufficient_quota"}}}',
      },
      "model_unauthorized",
    ],
    [
      "a key that has expired",
      400,
      { error: { message: "API key expired. Please renew it." } },
      "model_unauthorized",
    ],
    [
      "MiniMax's key",
      200,
      { base_resp: { status_code: 2049, status_msg: "invalid api key" } },
      "model_unauthorized",
    ],
    ["a key in words alone", 200, { error: { message: "Incorrect API key provided" } }, "model_unauthorized"],
    [
      "MiniMax's parameters",
      200,
      { base_resp: { status_code: 2013, status_msg: "invalid params" } },
      "model_bad_request",
    ],
    ["Databricks in a stream", 200, { error_code: "BAD_REQUEST", message: "m" }, "model_bad_request"],
    // ItzCrazyKns/Vane #771.
    [
      "Groq's model that is withdrawn",
      400,
      { error: { message: "m", type: "invalid_request_error", code: "model_decommissioned" } },
      "unknown_model",
    ],
    [
      "a model whose name has a dot",
      400,
      { error: { message: "The model `gpt-4.1-x` does not exist" } },
      "unknown_model",
    ],
    [
      "a model that is deprecated",
      400,
      { error: { message: "The model `m-4.5` has been deprecated" } },
      "unknown_model",
    ],
    [
      "a model that no provider has",
      400,
      { error: { message: "m", code: "model_not_supported" } },
      "unknown_model",
    ],
    ["Copilot's model", 400, { error: { message: "The model m-4.1 is not supported." } }, "unknown_model"],
    // A page of a firewall speaks of policies too.
    [
      "a page of a firewall",
      403,
      '<meta http-equiv="Content-Security-Policy" content="x"><h1>Sorry, you have been blocked</h1>',
      "model_unauthorized",
    ],
  ])("%s: HTTP %i %j is %s", async (_, status, body, code) => {
    expect(await run(refusal(status, body))).toMatchObject({ status: "failed", code, retries: [] });
    expect(server.requests).toHaveLength(1);
  });

  test("of llama.cpp within a stream, whose field is `error` and not `data`", async () => {
    const error = 'error: {"code":400,"message":"exceeds the context","type":"invalid_request_error"}\n\n';
    expect(await run(half(oc) + error + DONE)).toMatchObject({ code: "model_bad_request", retries: [] });
  });
});

describe("an error that another try may avoid leads to another try", () => {
  test.each<[string, number, string | object, string]>([
    [
      "a gateway without an answer in time",
      504,
      { error: { message: "The response was blocked because the upstream timed out" } },
      "model_unavailable",
    ],
    [
      "a minute's rate, of Azure",
      429,
      { error: { code: "RateLimitReached", message: "Limit of 50000 tokens per 60s exceeded" } },
      "model_rate_limited",
    ],
    [
      "Bedrock's quota of a minute",
      400,
      { __type: "ServiceQuotaExceededException", message: "m" },
      "model_rate_limited",
    ],
    [
      "Mistral's rate",
      429,
      { object: "error", message: "m", type: "rate_limited", code: "1300" },
      "model_rate_limited",
    ],
    [
      "an overload that a gateway passes on as a bad request",
      400,
      {
        error: {
          message: "The engine is currently overloaded, please try again later",
          type: "invalid_request_error",
        },
      },
      "model_unavailable",
    ],
    [
      "AWS's rate",
      400,
      { __type: "com.amazon.coral.availability#ThrottlingException", message: "m" },
      "model_rate_limited",
    ],
    [
      "Groq's model that wrote a broken call",
      400,
      { error: { message: "Failed to call a function.", code: "tool_use_failed" } },
      "model_unreadable",
    ],
    [
      "Anthropic's overload",
      529,
      { type: "error", error: { type: "overloaded_error" } },
      "model_unavailable",
    ],
    [
      "llama.cpp, while it loads a model",
      503,
      { error: { code: 503, message: "Loading model", type: "unavailable_error" } },
      "model_unavailable",
    ],
    ["Cloudflare's list of errors", 200, { success: false, errors: [{ code: 3040 }] }, "model_unavailable"],
    ["a proxy's page", 502, "<html>Bad gateway</html>", "model_unavailable"],
    ["a time-out", 408, { error: { message: "m" } }, "model_unavailable"],
    // charmbracelet/crush #2546, lmstudio-ai/lmstudio-bug-tracker #1347.
    ["LM Studio's model that it unloads", 400, { error: "Model unloaded." }, "model_unavailable"],
    [
      "LM Studio's model that it loads",
      400,
      { error: { message: 'Failed to load model "m". Error: Operation canceled.' } },
      "model_unavailable",
    ],
    [
      "MiniMax's rate",
      200,
      { base_resp: { status_code: 1002, status_msg: "rate limit" } },
      "model_rate_limited",
    ],
    // ollama/ollama #12064, #17638, can1357/oh-my-pi #3899, duolahypercho/codex-router #161, dust-tt/dust PR 24414.
    [
      "Ollama's model that wrote a broken call",
      500,
      { error: { message: "error parsing tool call: raw='{', err=unexpected end", type: "api_error" } },
      "model_unreadable",
    ],
    [
      "llama.cpp's model that wrote a broken call",
      500,
      {
        error: { code: 500, message: "Failed to parse tool call arguments as JSON: x", type: "server_error" },
      },
      "model_unreadable",
    ],
    [
      "Ollama's cloud that cannot read a call",
      400,
      { error: { message: "invalid tool call arguments", type: "invalid_request_error" } },
      "model_unreadable",
    ],
    [
      "Anthropic's model that wrote a broken call",
      200,
      { type: "error", error: { message: "Unable to parse tool parameter JSON from model. Please retry" } },
      "model_unreadable",
    ],
    // apache/rocketmq-dashboard #2178.
    ["a rate in words alone", 200, { error: { message: "quota exceeded" } }, "model_rate_limited"],
    ["an error that says nothing", 200, { error: { message: "m" } }, "model_unavailable"],
  ])("%s: HTTP %i %j is %s", async (_, status, body, code) => {
    expect(await run(refusal(status, body))).toMatchObject({ status: "failed", code, retries: [code] });
    expect(server.requests).toHaveLength(2);
  });

  // Fails when a request that is too long is tried again, or its error does not say so.
  test.each<[number, object]>([
    [400, { error: { code: "context_length_exceeded", message: "m" } }],
    [500, { error: { message: "This model's maximum context length is 4096 tokens", type: "server_error" } }],
    [
      400,
      { error: { type: "invalid_request_error", message: "prompt is too long: 210000 tokens > 200000" } },
    ],
    [
      400,
      {
        error: { message: "The input token count (1100000) exceeds the maximum", status: "INVALID_ARGUMENT" },
      },
    ],
    [413, { error: { message: "m" } }],
  ])("HTTP %i %j says that the request is too long", async (status, body) => {
    const result = await run(refusal(status, body));
    expect(result).toMatchObject({ code: "model_bad_request", retries: [] });
    expect(result.message).toContain("too long");
  });

  // Fails when a gateway's own error is read in one provider's format alone, or only where it is JSON.
  test.each([oc, an, go])(
    "%s: a gateway's own error in any shape is read within an answer",
    async (model) => {
      const step = { ...llm1, model, retry: { attempts: 1, base_seconds: 0.01, max_seconds: 0.01 } };
      for (const [error, code] of [
        ["event: error\ndata: Your account has insufficient credits\n\n", "model_unauthorized"],
        ['event: error\ndata: "insufficient credits"\n\n', "model_unauthorized"],
        [event({ success: false, errors: [{ code: "insufficient_quota" }] }), "model_unauthorized"],
        [event({ message: "Unauthorized", statusCode: 401 }), "model_unauthorized"],
        [event({ error: true, code: "insufficient_quota", message: "m" }), "model_unauthorized"],
        [event({ error: {} }) + event({ error: false }) + event({ error: [] }), "model_cut"],
      ] as const) {
        expect(await runStep(server, step, [half(model) + error])).toMatchObject({ code });
      }
    },
  );

  // Fails when the key and the prompt go where a redirect leads.
  test.each([oc, an, go])("%s: a redirect is not followed, and names the base URL", async (model) => {
    for (const status of [301, 302, 307, 308]) {
      const elsewhere = new ProviderServer();
      await elsewhere.start();
      elsewhere.reset(text());
      const result = await runStep(server, { ...llm1, model }, [
        refusal(status, "", { location: elsewhere.url }),
      ]);
      expect(result).toMatchObject({ code: "model_not_configured", retries: [] });
      expect(result.message).toContain("base URL");
      expect(elsewhere.requests).toEqual([]);
      elsewhere.stop();
    }
  });

  test("a provider that cannot be reached is named with the reason", async () => {
    const models = createModels({ OLLAMA_BASE_URL: "http://127.0.0.1:2" }, 5_000);
    await expect(
      models.generate({
        model: "ollama/m",
        messages: [{ role: "user", content: "x" }],
        tools: [],
        toolChoice: "auto",
        effectKey: "k",
        signal: new AbortController().signal,
        onText: () => {},
      }),
    ).rejects.toMatchObject({
      code: "model_unreachable",
      message: "ollama/m: the connection to the provider failed (ECONNREFUSED)",
    });
  });

  // Fails when a page is called an answer that was cut off.
  test("a page under status 200 names the base URL", async () => {
    const result = await run(refusal(200, "<!DOCTYPE html>\n<p>Log in</p>", { "content-type": "text/html" }));
    expect(result).toMatchObject({ code: "model_unreadable", retries: ["model_unreadable"] });
    expect(result.message).toContain("base URL");
    for (const answer of ["data: hello\n\n", refusal(204, "")]) {
      expect(await run(answer)).toMatchObject({ status: "failed" });
    }
    expect((await run("data: hello\n\n")).message).toContain("base URL");
  });

  test("a page beside a complete answer is none", async () => {
    expect(await run(`${text("all")}\n<p>bye</p>`)).toMatchObject({ response: "all" });
    expect(await run(`${event({ id: "c" })}hello\n${text("all")}`)).toMatchObject({ response: "all" });
  });
});

// Fails when the user is sent to look for a model that exists, or is told nothing.
test.each([
  [404, "No endpoints found that support tool use. To learn more about provider routing, visit: x", "tools"],
  [400, "registry.ollama.ai/library/m does not support tools", "tools"],
  [400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "tools"],
  [404, "No endpoints found that support image input", "images"],
  [400, "messages[0]: unknown variant `image_url`, expected `text`", "images"],
  [400, 'model "m" not supported for vision', "images"],
  [400, "This model does not support image inputs", "images"],
])("%i %s: the error says what the model does not take", async (status, message, what) => {
  const result = await runStep(server, { ...ag1, model: oc }, [refusal(status, { error: { message } })]);
  expect(result).toMatchObject({ code: "model_bad_request", retries: [] });
  expect(result.message).toContain(`takes no ${what}`);
});

// Fails when the user is told that a model takes no images, and only this one is wrong.
test.each([
  "You uploaded an unsupported image. Please make sure your image has of one the following formats: ['png', 'jpeg'].",
  "Unsupported MIME type: image/bmp",
  "image/svg+xml is not supported, the supported image formats are png and jpeg",
  "The image format is not supported",
])("%s: the error does not say that the model takes no images", async (message) => {
  const result = await runStep(server, { ...ag1, model: oc }, [refusal(400, { error: { message } })]);
  expect(result).toMatchObject({ code: "model_bad_request", retries: [] });
  expect(result.message).not.toContain("takes no");
});

// The sentences of servers for a request that is too long: earendil-works/pi, `overflow.ts`, and the issues that it cites.
test.each<[string, number, string | object]>([
  ["Ollama, which has left out the user's message", 500, "no user query found in messages"],
  ["xAI", 400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."],
  ["Groq", 400, "Please reduce the length of the messages or completion."],
  ["Poolside", 400, "Input length 131393 exceeds the maximum allowed input length of 131040 tokens."],
  [
    "Together and SGLang",
    422,
    "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
  ],
  [
    "LM Studio",
    400,
    "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length.",
  ],
  ["GitHub", 400, "prompt token count of 130000 exceeds the limit of 128000"],
  ["MiniMax", 400, "invalid params, context window exceeds limit (2013)"],
  ["Kimi", 400, "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)"],
  ["vLLM's prompt", 400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."],
  ["vLLM's answer", 400, "max_tokens must be at least 1, got -904."],
  [
    "TGI's prompt",
    422,
    { error: "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000" },
  ],
  [
    "TGI's answer",
    422,
    { error: "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000" },
  ],
  ["DashScope", 400, "Range of input length should be [1, 30720]"],
  ["Zhipu", 400, { error: { code: "1261", message: "Prompt exceeds max length" } }],
  ["Cohere", 400, { message: "too many tokens: total number of tokens in the prompt cannot exceed 4081" }],
  ["SambaNova", 400, "The prompt is 9000 tokens, current max sequence length is 8192"],
  ["llama.cpp", 500, "input is too large to process. increase the physical batch size"],
  ["OpenAI", 400, "Input tokens exceed the configured limit of 272000 tokens."],
])("%s says with HTTP %i that the request is too long: %j", async (_, status, sentence) => {
  const body = typeof sentence === "string" ? { error: { message: sentence } } : sentence;
  const result = await run(refusal(status, body));
  expect(result).toMatchObject({ code: "model_bad_request", retries: [] });
  expect(result.message).toContain("too long");
});

test("Bedrock's rate of tokens is no request that is too long", async () => {
  const body = {
    __type: "ThrottlingException",
    message: "Too many tokens, please wait before trying again.",
  };
  expect(await run(refusal(429, body))).toMatchObject({ code: "model_rate_limited" });
});

// Fails when an agent gives up a conversation that a summary would make short enough.
test("an agent whose conversation a provider finds too long goes on with a summary, and repeats no call", async () => {
  const refused = refusal(400, { error: { message: "maximum context length is 4096 tokens" } });
  const script = [call('{"q":"a"}'), call('{"q":"b"}'), refused, text("found a"), text("fine")];
  const result = await runStep(server, { ...ag1, model: oc }, script);
  expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }, { q: "b" }], retries: [] });
  expect(JSON.stringify(server.requests[4]?.body)).toContain("found a");
});
