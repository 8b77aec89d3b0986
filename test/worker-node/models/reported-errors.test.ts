import { describe, expect, test } from "vitest";
import { aProvider, ag1, llm1, runStep } from "./model-run.ts";
import {
  DONE,
  an,
  anthropicEvent,
  call,
  chunk,
  counts,
  cut,
  event,
  go,
  googleChunk,
  half,
  oa,
  oc,
  refusal,
  text,
  whole,
} from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

const { server, run } = aProvider();
const providers = [oc, oa, an, go];

describe("an error that a provider reports inside its stream", () => {
  const anthropicError = (type: string) => anthropicEvent("error", { error: { type, message: "no" } });
  const openaiError = (error: object) => event({ error });
  const googleError = (code: number, status: string) => event({ error: { code, status, message: "no" } });

  // Fails when any error after the first event is taken for a lost connection.
  test.each([
    [oc, openaiError({ code: 400, message: "prompt too long" })],
    [oa, openaiError({ code: 400, message: "prompt too long" })],
    [oc, openaiError({ code: "context_length_exceeded", type: "server_error", message: "no" })],
    [oc, event({ object: "error", message: "no", type: "BadRequestError", code: 400 })],
    [oc, event({ message: "no", type: "invalid_request_error" }, "error")],
    [an, anthropicError("invalid_request_error")],
    [go, googleError(400, "INVALID_ARGUMENT")],
    // The errors of Text Generation Inference, of AWS behind a gateway, and of a gateway that quotes the provider's error in its
    // own sentence.
    [oc, event({ error: "prompt too long", error_type: "validation" })],
    [oc, event({ validationException: { message: "prompt too long" } })],
    [oc, openaiError({ code: 500, message: '{"error":{"code":400,"type":"invalid_request_error"}}' })],
  ])("%s: %s is reported once as a bad request", async (model, error) => {
    const result = await run(model, half(model) + error);
    expect(result).toMatchObject({ status: "failed", code: "model_bad_request", retries: [] });
    expect(server.requests).toHaveLength(1);
    expect(result.message).not.toContain("prompt too long");
  });

  test.each([
    [oc, openaiError({ type: "overloaded_error", message: "no" }), "model_unavailable"],
    [oc, openaiError({ message: "odd", type: "something_new" }), "model_unavailable"],
    [oc, event({ error: "the runner has stopped" }), "model_unavailable"],
    [oa, openaiError({ code: 529, message: "no" }), "model_unavailable"],
    [an, anthropicError("overloaded_error"), "model_unavailable"],
    [an, anthropicError("api_error"), "model_unavailable"],
    [an, anthropicError("rate_limit_error"), "model_rate_limited"],
    [oc, openaiError({ code: "rate_limit_exceeded", message: "no" }), "model_rate_limited"],
    [oc, openaiError({ code: "429", message: "no" }), "model_rate_limited"],
    [go, googleError(503, "UNAVAILABLE"), "model_unavailable"],
    [go, googleError(429, "RESOURCE_EXHAUSTED"), "model_rate_limited"],
    [oc, event({ throttlingException: { message: "no" } }), "model_rate_limited"],
    [oc, event({ error: "no", error_type: "overloaded" }), "model_unavailable"],
  ])("%s: %s is tried again as %s", async (model, error, code) => {
    const result = await run(model, half(model) + error, whole(model, "good"));
    expect(result).toMatchObject({ status: "completed", response: "good", retries: [code] });
    expect(server.requests).toHaveLength(2);
  });

  test.each([
    [oc, openaiError({ code: "insufficient_quota", message: "no" }), "no credit"],
    [an, anthropicError("authentication_error"), "API key"],
    [an, anthropicError("permission_error"), "API key"],
  ])("%s: %s ends the step as model_unauthorized", async (model, error, sentence) => {
    const result = await run(model, half(model) + error);
    expect(result).toMatchObject({ status: "failed", code: "model_unauthorized", retries: [] });
    expect(result.message).toContain(sentence);
  });

  // Fails when an error is read only where a chunk has no choices.
  test.each([oa, oc])("%s: an error beside or inside the choices of a chunk is read", async (model) => {
    const error = { code: 400, message: "bad" };
    const choice = { index: 0, delta: { content: "" }, finish_reason: "error" };
    for (const odd of [{ error, choices: [choice] }, { choices: [{ ...choice, error }] }]) {
      const result = await run(
        model,
        half(model) + event({ id: "c", created: 1, model: "m", ...odd }) + DONE,
      );
      expect(result).toMatchObject({ status: "failed", code: "model_bad_request", retries: [] });
      expect(server.requests).toHaveLength(1);
    }
  });

  test("is read as the first event of a stream, and as a body that is no stream", async () => {
    const error = { error: { code: 400, message: "bad" } };
    for (const body of [
      event(error),
      JSON.stringify(error),
      JSON.stringify(error, null, 2),
      JSON.stringify([error]),
    ]) {
      expect(await run(oc, body)).toMatchObject({ code: "model_bad_request", retries: [] });
    }
  });

  // Fails when only events count, and text between them is dropped.
  test("is read from JSON that is no event, also after the answer seemed complete", async () => {
    const error = JSON.stringify({ error: { code: 503, message: "no", status: "UNAVAILABLE" } }, null, 2);
    const result = await run(go, `${googleChunk([{ text: "Half a" }], "STOP")}${error}\n`, whole(go, "all"));
    expect(result).toMatchObject({ response: "all", retries: ["model_unavailable"] });
  });

  test.each([{ error: null }, { error: {} }, { error: "" }, { error: false }])(
    "is absent where the field is %j",
    async (none) => {
      expect(
        await run(oc, chunk({ content: "all" }, null, none) + chunk({}, "stop", none) + DONE),
      ).toMatchObject({
        status: "completed",
        response: "all",
        retries: [],
      });
    },
  );

  test("is charged with the counts that come before or after it", async () => {
    const error = openaiError({ code: 400, message: "bad" });
    expect(await run(oc, half(oc) + error + counts(50, 9) + DONE)).toMatchObject({ tokens: 59 });
    expect(await run(oc, half(oc) + counts(50, 9) + error)).toMatchObject({ tokens: 59 });
  });
});

// Fails when the HTTP status alone decides.
describe("an account without credit", () => {
  test.each([
    [oc, 429, { message: "quota", type: "insufficient_quota", code: "insufficient_quota" }],
    [oa, 429, { message: "quota", type: "insufficient_quota", code: null }],
    [oc, 402, { message: "pay" }],
    [oc, 403, { message: "no", code: "insufficient_user_quota", type: "new_api_error" }],
    [oc, 400, { message: "no", code: "Arrearage" }],
    [oc, 429, { message: "no", type: "exceeded_current_quota_error" }],
    [
      an,
      400,
      { type: "invalid_request_error", message: "Your credit balance is too low to access the API." },
    ],
    [
      an,
      400,
      { type: "invalid_request_error", message: "You have reached your specified API usage limits." },
    ],
    [oc, 429, { code: "1113", message: "余额不足或无可用资源包,请充值。" }],
  ])("%s: HTTP %i %j ends the step at once, with a sentence about credit", async (model, status, error) => {
    const result = await run(model, refusal(status, { type: "error", error }));
    expect(result).toMatchObject({ status: "failed", code: "model_unauthorized", retries: [] });
    expect(result.message).toContain("no credit");
    expect(server.requests).toHaveLength(1);
  });

  test("is not the reason of a plain rate limit, which is tried again", async () => {
    const error = { message: "slow down", type: "requests", code: "rate_limit_exceeded" };
    expect(await run(oc, refusal(429, { error }))).toMatchObject({
      code: "model_rate_limited",
      retries: ["model_rate_limited", "model_rate_limited"],
    });
    expect(server.requests).toHaveLength(3);
  });
});

test.each([
  [
    go,
    400,
    {
      error: {
        code: 400,
        status: "INVALID_ARGUMENT",
        message: "m",
        details: [{ reason: "API_KEY_INVALID" }],
      },
    },
    "model_unauthorized",
  ],
  [
    oa,
    401,
    { error: { message: "m", type: "invalid_request_error", code: "invalid_api_key" } },
    "model_unauthorized",
  ],
  [
    oa,
    404,
    { error: { message: "m", type: "invalid_request_error", code: "model_not_found" } },
    "unknown_model",
  ],
  [oc, 500, { error: { message: "m", code: "context_length_exceeded" } }, "model_bad_request"],
  [oc, 400, { error: { message: "m", code: "content_policy_violation" } }, "content_filter"],
  [
    oc,
    502,
    { error: { message: "m", metadata: { raw: '{"error":{"code":"context_length_exceeded"}}' } } },
    "model_bad_request",
  ],
])("%s: HTTP %i %j is %s, and not tried again", async (model, status, body, code) => {
  expect(await run(model, refusal(status, body))).toMatchObject({ status: "failed", code, retries: [] });
  expect(server.requests).toHaveLength(1);
});

describe("a stream that is cut", () => {
  // Fails when the code is what the SDK happens to notice.
  test.each(providers)("%s: has one code, whichever way it is cut", async (model) => {
    const body = half(model);
    const broken = body.slice(0, -20);
    for (const answer of [cut(body), body, cut(broken), broken, cut(""), ""]) {
      const result = await run(model, answer, whole(model, "all"));
      expect(result).toMatchObject({ status: "completed", response: "all", retries: ["model_cut"] });
      expect(server.requests).toHaveLength(2);
    }
  });

  test("after a complete answer loses nothing", async () => {
    expect(await run(oc, cut(chunk({ content: "all" }) + chunk({}, "stop") + counts(3, 2)))).toMatchObject({
      response: "all",
      retries: [],
      tokens: 5,
    });
  });

  test("is not waited for when the provider has said that nothing follows", async () => {
    const open: Answer = (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(text("all"));
    };
    // A run that waited would end the silent stream, and retry.
    expect(await run(oc, open)).toMatchObject({ response: "all", retries: [] });
    expect(server.requests).toHaveLength(1);
  });
});

describe("the wait that a provider asks for", () => {
  const gapMs = (): number => (server.requests[1]?.atMs ?? 0) - (server.requests[0]?.atMs ?? 0);
  const googleLimit = (...details: object[]) => ({
    error: { code: 429, status: "RESOURCE_EXHAUSTED", message: "m", details },
  });
  const retryInfo = { "@type": "type.googleapis.com/google.rpc.RetryInfo", retryDelay: "1.5s" };

  // Fails when only Retry-After is read.
  test.each([
    ["Retry-After", oc, refusal(429, { error: {} }, { "retry-after": "2" }), 2_000],
    ["retry-after-ms", oc, refusal(429, { error: {} }, { "retry-after-ms": "1500" }), 1_500],
    ["google.rpc.RetryInfo", go, refusal(429, googleLimit(retryInfo)), 1_500],
    ["google.rpc.RetryInfo in a list", go, refusal(503, [googleLimit(retryInfo)]), 1_500],
    ["google.rpc.RetryInfo inside a stream", go, event(googleLimit(retryInfo)), 1_500],
    ["a field of the body", oc, refusal(429, { error: { message: "m" }, retry_after: 1.5 }), 1_500],
    ["words", oc, refusal(429, { error: { message: "Please try again in 1.5s." } }), 1_500],
    [
      "the reset of the limit that is used up",
      oc,
      refusal(
        429,
        { error: {} },
        {
          "x-ratelimit-remaining-requests": "99",
          "x-ratelimit-reset-requests": "6h0m0s",
          "x-ratelimit-remaining-tokens": "0",
          "x-ratelimit-reset-tokens": "1s500ms",
        },
      ),
      1_500,
    ],
    [
      "a quoted header",
      oc,
      (response, request) => {
        const headers = { "X-RateLimit-Reset": String(Date.now() + 2_000) };
        refusal(429, { error: { metadata: { headers } } })(response, request);
      },
      1_900,
    ],
  ])("in %s is waited for", async (where, model, answer, ms) => {
    const result = await run(model, answer, whole(model, "all"));
    expect(result).toMatchObject({ status: "completed", response: "all" });
    expect(server.requests).toHaveLength(2);
    expect(gapMs()).toBeGreaterThanOrEqual(ms - 10);
    // A reset is a time of the day, of which a part has passed when it is read: the wait is at most the time until then.
    if (where === "a quoted header") expect(result.waits[0]).toBeLessThanOrEqual(2);
    else expect(result.waits).toEqual([ms / 1_000]);
  });

  // Fails when the wait is shortened, or when the run waits although its time limit comes first.
  test.each([
    [
      "a quota for a day",
      go,
      refusal(
        429,
        googleLimit({ violations: [{ quotaId: "RequestsPerDayPerProject-FreeTier" }] }, retryInfo),
      ),
    ],
    ["a long Retry-After", oc, refusal(429, { error: {} }, { "retry-after": "86400" })],
    ["a long retryDelay", go, refusal(503, googleLimit({ retryDelay: "86400s" }))],
  ])("of %s ends a run whose time limit comes earlier", async (_, model, answer) => {
    // A minute: a quota for a day may end within the run otherwise.
    const result = await runStep(server, { ...llm1, model }, [answer], { timeout_minutes: 1 });
    expect(result).toMatchObject({ status: "failed", retries: [] });
    expect(result.message).toContain("asks to wait");
    expect(server.requests).toHaveLength(1);
  });

  test("gives the slot back in a run that has hours left", async () => {
    const answer = refusal(429, { error: {} }, { "retry-after": "7200" });
    const result = await runStep(server, llm1, [answer], { timeout_minutes: 600 });
    expect(result).toMatchObject({ status: "queued", retries: ["model_rate_limited"] });
  });

  test("does not come from limits of which something remains", async () => {
    const headers = { "x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "6h0m0s" };
    expect(await run(oc, refusal(500, { error: {} }, headers), text("all"))).toMatchObject({
      response: "all",
    });
  });
});

test("an agent whose stream breaks in its second turn does not call its tool again", async () => {
  const result = await runStep(server, ag1, [call('{"q":"a"}'), cut(half(oc)), text("fine")]);
  expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }], retries: ["model_cut"] });
});
