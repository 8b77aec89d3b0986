import { beforeEach, describe, expect, test } from "vitest";
import { aProvider, ag1, evaluator, runStep } from "./model-run.ts";
import {
  DONE,
  an,
  anthropicEnd,
  anthropicStart,
  anthropicText,
  call,
  chunk,
  counts,
  go,
  googleChunk,
  oa,
  oc,
  refusal,
  text,
} from "./provider-server.ts";
import type { Answer, ProviderRequest } from "./provider-server.ts";
import type { ModelRequest } from "../../../worker-node/engine/ports.ts";

const { server } = aProvider();
beforeEach(() => server.reset());

const toolStep = { type: "tool", forced_tool: "lookup", prompt_template: "go", retry: evaluator.retry };
const chosen = { name: "choose_route", arguments: '{"route":"yes","reasoning":"why"}' };
const choice =
  chunk({ tool_calls: [{ index: 0, id: "k1", type: "function", function: chosen }] }) +
  chunk({}, "tool_calls") +
  DONE;

describe("a server that ignores a forced tool choice", () => {
  // Fails when what the SDK throws over a complete answer is taken for a lost connection.
  test.each([oc, oa])("%s: may answer with JSON in text", async (model) => {
    const result = await runStep(server, { ...evaluator, model }, [text('{"route":"yes"}', counts(50, 9))]);
    expect(result).toMatchObject({ response: "went-a", tokens: 59, retries: [] });
    expect(server.requests).toHaveLength(1);
    const tool = await runStep(server, { ...toolStep, model }, [
      text('```json\n{"q":"a"}\n```', counts(50, 9)),
    ]);
    expect(tool).toMatchObject({ status: "completed", toolCalls: [{ q: "a" }], tokens: 59 });
  });

  // Fails when the call that a model writes around its arguments reaches the tool as arguments.
  test.each([
    (name: string, args: string) => `{"name":"${name}","arguments":${args}}`,
    (name: string, args: string) => `<tool_call>\n{"name":"${name}","parameters":${args}}\n</tool_call>`,
    (name: string, args: string) =>
      `{"type":"function","function":{"name":"${name}","arguments":${JSON.stringify(args)}}}`,
    (name: string, args: string) => `{"${name}":${args}}`,
    (name: string, args: string) => `[TOOL_CALLS][{"name":"${name}","arguments":${args}}]`,
    (name: string, args: string) =>
      `{"tool_calls":[{"function":{"name":"${name}","arguments":${JSON.stringify(args)}}}]}`,
  ])("may answer with the whole call in text: %s", async (written) => {
    const route = written("choose_route", '{"route":"no"}');
    expect(await runStep(server, { ...evaluator, model: oc }, [text(route)])).toMatchObject({
      response: "went-b",
    });
    const args = written("lookup", '{"q":"a"}');
    expect(await runStep(server, { ...toolStep, model: oc }, [text(args)])).toMatchObject({
      status: "completed",
      toolCalls: [{ q: "a" }],
    });
  });

  // Fails when a route that is named in so many words, or whose label is no text in JSON, is asked for again and again.
  test.each([
    ["yes", "yes"],
    ["**Yes**.", "yes"],
    ['"yes"', "yes"],
    ["<think>no</think>\nyes", "yes"],
    ['{"route":true}', "true"],
    ["true", "true"],
    ['{"route":2}', "2"],
  ])("may answer with %s for the label %s", async (written, label) => {
    const route_map = { [label]: "yes", other: "no" };
    const result = await runStep(server, { ...evaluator, route_map, model: oc }, [text(written)]);
    expect(result).toMatchObject({ response: "went-a" });
    expect(server.requests).toHaveLength(1);
  });

  // Fails when the first of two drafts reaches the tool.
  test("that writes two sets of arguments is asked again", async () => {
    const result = await runStep(server, toolStep, [text('{"q":"a"} or {"q":"b"}'), call('{"q":"c"}')]);
    expect(result).toMatchObject({ status: "completed", toolCalls: [{ q: "c" }] });
  });

  // Fails when the type of a field that decides nothing throws the choice away.
  test.each(["null", '["a","b"]', "7"])("may give its reasoning as %s", async (reasoning) => {
    const result = await runStep(server, { ...evaluator, model: oc }, [
      text(`{"route":"no","reasoning":${reasoning}}`),
    ]);
    expect(result).toMatchObject({ response: "went-b" });
    expect(server.requests).toHaveLength(1);
  });

  // Fails when the first of two labels is taken: a route is never guessed.
  test("that names two routes in one answer is asked again", async () => {
    const twoLabels = '{"route":"yes"} or rather {"route":"no"}';
    const result = await runStep(server, { ...evaluator, model: oc }, [
      text(twoLabels),
      text('{"route":"no"}'),
    ]);
    expect(result).toMatchObject({ response: "went-b" });
    expect(server.requests).toHaveLength(2);
  });

  test("an, go: may answer with JSON in text", async () => {
    const route = '{"route":"no"}';
    const anthropic = anthropicStart() + anthropicText(route) + anthropicEnd();
    expect(await runStep(server, { ...evaluator, model: an }, [anthropic])).toMatchObject({
      response: "went-b",
      retries: [],
    });
    const google = googleChunk([{ text: route }], "STOP");
    expect(await runStep(server, { ...evaluator, model: go }, [google])).toMatchObject({
      response: "went-b",
      retries: [],
    });
  });

  test("gets a correction after prose, and all its answers are charged", async () => {
    const script = [text("I would say yes.", counts(50, 9)), text('{"route":"yes"}', counts(70, 9))];
    expect(await runStep(server, evaluator, script)).toMatchObject({
      response: "went-a",
      tokens: 138,
      retries: [],
    });
    expect(JSON.stringify(server.requests[1]?.body.messages)).toContain("That names no route");
    const tool = await runStep(server, toolStep, [text("prose"), call('{"q":"a"}')]);
    expect(tool).toMatchObject({ status: "completed", toolCalls: [{ q: "a" }] });
  });
});

const isForced = ({ body }: ProviderRequest) => body.tool_choice !== undefined && body.tool_choice !== "auto";

// Fails when a server that answers each forced choice with nothing, as LM Studio does for some models, fails all steps that force a tool.
describe("a server that answers a forced tool choice with nothing", () => {
  const silentWhenForced =
    (otherwise: string): Answer =>
    (response, request) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(isForced(request) ? text("", counts(50, 0)) : otherwise);
    };

  test("gets the request again without the choice, and both are charged", async () => {
    const chooses = choice.replace(DONE, counts(50, 9) + DONE);
    const result = await runStep(server, evaluator, [silentWhenForced(chooses)]);
    expect(result).toMatchObject({ response: "went-a", tokens: 109, retries: [] });
    expect(server.requests.map(isForced)).toEqual([true, false]);
    const tool = await runStep(server, toolStep, [silentWhenForced(call('{"q":"a"}'))]);
    expect(tool).toMatchObject({ status: "completed", toolCalls: [{ q: "a" }] });
  });

  test.each([
    ["a refusal", refusal(400, { error: { message: "no" } })],
    ["nothing", text("")],
  ])(
    "gets the correction, with the choice forced again, when the request without the choice gets %s",
    async (_, second) => {
      const result = await runStep(server, evaluator, [text(""), second, choice]);
      expect(result).toMatchObject({ response: "went-a", retries: [] });
      expect(server.requests.map(isForced)).toEqual([true, false, true]);
      expect(JSON.stringify(server.requests[2]?.body.messages)).toContain("That names no route");
    },
  );
});

describe("a server that refuses a forced tool choice", () => {
  const refuses =
    (status: number, error: object, otherwise: string): Answer =>
    (response, request) => {
      const answer = isForced(request) ? refusal(status, { error }) : otherwise;
      if (typeof answer === "function") return answer(response, request);
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(answer);
    };

  test.each([
    [400, { message: "this mode takes no forced tool_choice", type: "invalid_request_error" }],
    [400, { message: "no" }],
    [422, { message: "extra inputs" }],
    [404, { message: "No endpoints found that support the provided 'tool_choice' value." }],
    [500, { message: "tool_choice is not implemented", type: "invalid_request_error", code: "bad_request" }],
  ])("with HTTP %i %j gets the request again without the choice", async (status, error) => {
    const result = await runStep(server, evaluator, [refuses(status, error, choice)]);
    expect(result).toMatchObject({ response: "went-a", retries: [] });
    expect(server.requests).toHaveLength(2);
    const [first, second] = server.requests.map((request) => request.headers["idempotency-key"]);
    expect(first).not.toBe(second);
    expect(await runStep(server, toolStep, [refuses(status, error, call('{"q":"a"}'))])).toMatchObject({
      toolCalls: [{ q: "a" }],
    });
  });

  test("may answer in text then", async () => {
    const script = [refuses(400, { message: "no" }, text('{"route":"yes"}'))];
    expect(await runStep(server, evaluator, script)).toMatchObject({ response: "went-a" });
  });

  test("is remembered by the worker", async () => {
    server.reset(refuses(400, { message: "no" }, choice));
    const models = server.models();
    const request: ModelRequest = {
      model: null,
      messages: [{ role: "user", content: "hello" }],
      tools: [{ name: "choose_route", description: "", parameters: { type: "object", properties: {} } }],
      toolChoice: "required",
      effectKey: "k",
      signal: new AbortController().signal,
      onText: () => {},
    };
    await models.generate(request);
    await models.generate(request);
    expect(server.requests.map(isForced)).toEqual([true, false, false]);
  });

  // Fails when a passing failure of the second request ends the step with the refusal of the first one.
  test("is asked again when it is overloaded meanwhile", async () => {
    const no = refusal(400, { error: { message: "no" } });
    const result = await runStep(server, evaluator, [no, refusal(503, { error: {} }), no, choice]);
    expect(result).toMatchObject({ response: "went-a", retries: ["model_unavailable"] });
  });

  test("is reported by its first refusal when it also refuses the request without the choice", async () => {
    const second: Answer = refusal(404, { error: { message: "gone" } });
    const result = await runStep(server, evaluator, [refusal(400, { error: { message: "no" } }), second]);
    expect(result).toMatchObject({ status: "failed", code: "model_bad_request", retries: [] });
    expect(server.requests).toHaveLength(2);
  });

  test.each([
    [400, { message: "m", code: "context_length_exceeded" }, "model_bad_request"],
    [401, { message: "m" }, "model_unauthorized"],
    [404, { message: "there is no such model" }, "unknown_model"],
  ])("is not recognized in HTTP %i %j", async (status, error, code) => {
    expect(await runStep(server, evaluator, [refusal(status, { error })])).toMatchObject({
      status: "failed",
      code,
    });
    expect(server.requests).toHaveLength(1);
  });
});

describe("a server that takes no tools", () => {
  const refuses =
    (status: number, message: string, otherwise: string): Answer =>
    (response, request) => {
      if (request.body["tools"] !== undefined)
        return refusal(status, { error: { message } })(response, request);
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(otherwise);
    };
  const schemaStep = {
    ...evaluator,
    type: "llm",
    prompt_template: "go",
    output_schema: { type: "object", properties: { total: { type: "integer" } }, required: ["total"] },
  };

  // Fails when a step that has made its tool itself fails, although the model can answer with JSON.
  test.each([
    [400, "library/gemma:2b does not support tools"],
    [400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'],
    [404, "No endpoints found that support tool use."],
    [500, "tools param requires --jinja flag"],
  ])("(HTTP %i, %s) gets the schema as text, and answers with JSON", async (status, message) => {
    const schema = [refuses(status, message, text('{"total":3}'))];
    expect(await runStep(server, schemaStep, schema)).toMatchObject({ response: { total: 3 }, retries: [] });
    expect(JSON.stringify(server.requests[2]?.body.messages)).toContain('\\"total\\"');
    const keys = server.requests.map((request) => request.headers["idempotency-key"]);
    expect(new Set(keys).size).toBe(3);
    const route = [refuses(status, message, text('{"route":"no"}'))];
    expect(await runStep(server, evaluator, route)).toMatchObject({ response: "went-b", retries: [] });
    const tool = [refuses(status, message, text('{"q":"a"}'))];
    expect(await runStep(server, toolStep, tool)).toMatchObject({ toolCalls: [{ q: "a" }], retries: [] });
  });

  // Fails when an agent without its tools would only pretend to work.
  test("ends an agent", async () => {
    const result = await runStep(server, ag1, [refuses(400, "m does not support tools", text("fine"))]);
    expect(result).toMatchObject({ status: "failed", code: "model_bad_request" });
    expect(server.requests).toHaveLength(1);
  });
});
