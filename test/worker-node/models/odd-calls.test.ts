import { describe, expect, test } from "vitest";
import { RetryableError } from "../../../worker-node/engine/step-errors.ts";
import { toolNameOf } from "../../../worker-node/models/tool-name.ts";
import { aProvider, ag1, runStep } from "./model-run.ts";
import {
  DONE,
  an,
  anthropicBlock,
  anthropicEnd,
  anthropicStart,
  callChunk,
  chunk,
  event,
  go,
  googleChunk,
  oc,
  text,
  whole,
} from "./provider-server.ts";

const { server, run } = aProvider();
const made = { response: "fine", toolCalls: [{ q: "a" }], retries: [] };

/** The first piece of a call, and a later piece. */
const first = (name: string | null | undefined, args?: string) =>
  callChunk("", { function: { name, arguments: args } });
const next = (fn: object, fields: object = {}) =>
  chunk({ tool_calls: [{ index: 0, function: fn, ...fields }] });
const end = chunk({}, "tool_calls") + DONE;
const args = { arguments: '{"q":"a"}' };

// Fails when the tool is called twice: a gateway in front of Anthropic sends the call in its own form too.
test("a call that a delta also has among the items of its content is one call", async () => {
  const call = { index: 0, id: "t", type: "function", function: { name: "lookup", arguments: '{"q": "a"}' } };
  const content = [{ type: "tool_use", id: "t", name: "lookup", input: { q: "a" } }];
  const stream = chunk({ content, tool_calls: [call] }) + end;
  const result = await runStep(server, { ...ag1, model: oc }, [stream, whole(oc, "fine")]);
  expect(result).toMatchObject(made);
});

// Fails when the first piece of a name is taken for the whole name.
test.each([
  ["arrives in two pieces", first("look", "") + next({ name: "up", arguments: "" }) + next(args) + end],
  ["arrives with its last piece beside arguments", first("look") + next({ name: "up", ...args }) + end],
  [
    "arrives letter by letter",
    first("l") +
      ["o", "o", "k", "u", "p"].map((name) => next({ name })).join("") +
      next({ arguments: '{"q":' }) +
      next({ arguments: '"a"}' }) +
      end,
  ],
  [
    "is repeated with each piece",
    first("lookup", '{"q":') + next({ name: "lookup", arguments: '"a"}' }) + end,
  ],
  ["grows with each piece", first("look", "") + next({ name: "lookup", ...args }) + end],
  ["follows an empty one", first("", "") + next({ name: "lookup", ...args }) + end],
  ["follows one of null", first(null) + next({ name: "lookup", ...args }) + end],
  ["comes before its id", next({ name: "lookup" }) + next(args, { id: "k1" }) + end],
  ["comes after its arguments", first(undefined, args.arguments) + next({ name: "lookup" }) + end],
  [
    "has another id in the next piece",
    first("lookup", '{"q":') + next({ arguments: '"a"}' }, { id: "k2" }) + end,
  ],
  [
    "has an empty id in the next piece",
    first("lookup", '{"q":') + next({ arguments: '"a"}' }, { id: "" }) + end,
  ],
  [
    "arrives in pieces of the old form",
    chunk({ function_call: { name: "look" } }) +
      chunk({ function_call: { name: "up" } }) +
      chunk({ function_call: { arguments: '{"q":' } }) +
      chunk({ function_call: { arguments: '"a"}' } }) +
      chunk({}, "function_call") +
      DONE,
  ],
])("a call whose name %s is made", async (_, stream) => {
  expect(await runStep(server, ag1, [stream, text("fine")])).toMatchObject(made);
});

// Fails when a call that is held back for its arguments, which never come, is lost.
test.each([
  ["a finish reason and DONE", chunk({}, "tool_calls") + DONE],
  ["a finish reason", chunk({}, "tool_calls")],
  ["an empty finish reason and DONE", chunk({}, "") + DONE],
])("calls without arguments are made after %s", async (_, ending) => {
  const twoCalls = first("lookup") + callChunk("", { index: 1, id: "k2", function: { name: "lookup" } });
  const sameIndex = first("lookup") + callChunk("", { id: "k2", function: { name: "lookup" } });
  for (const stream of [twoCalls, sameIndex]) {
    const result = await runStep(server, ag1, [stream + ending, text("fine")]);
    expect(result).toMatchObject({ ...made, toolCalls: [{}, {}] });
  }
});

describe("a tool's name in another spelling", () => {
  // Fails when such a call is reported to the model as a call of a tool that does not exist.
  test.each([
    "functions.lookup",
    "functions.lookup:0",
    "functions::lookup",
    "default_api.lookup",
    "tools/lookup",
    "mcp__server__lookup",
    "tool_lookup",
    "lookup_tool",
    "lookup()",
    "lookup(q)",
    "lookup:1",
    "lookup{",
    "lookup<|channel|>commentary",
    "<|tool|>lookup",
    "`lookup`",
    "Lookup",
    "LOOK-UP",
    " lookup\n",
  ])("is that of the one tool that it fits: %j", async (name) => {
    const result = await runStep(server, ag1, [first(name, args.arguments) + end, text("fine")]);
    expect(result).toMatchObject(made);
    // Providers refuse a malformed name when it is sent back.
    expect(server.requests[1]?.body.messages[2]?.["tool_calls"]).toMatchObject([
      { function: { name: "lookup" } },
    ]);
  });

  test.each([an, go])("is read with %s too", async (model) => {
    const block = { type: "tool_use", id: "t", name: "functions.lookup", input: { q: "a" } };
    const stream =
      model === an
        ? anthropicStart() + anthropicBlock(0, block) + anthropicEnd("tool_use")
        : googleChunk([{ functionCall: { name: "default_api.lookup", args: { q: "a" } } }], "STOP");
    const result = await runStep(server, { ...ag1, model }, [stream, whole(model, "fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }] });
  });

  // Fails when a call with an ambiguous name reaches a tool.
  test.each([
    ["user.delete", ["user"]],
    ["lookup_users", ["lookup"]],
    ["get_user", ["getUser", "GetUser"]],
    ["look", ["lookup"]],
    ["", ["lookup"]],
  ])("%j is the name of none of %j", (written, tools) => {
    expect(toolNameOf(written, tools)).toBe(written);
  });

  test("that fits no tool is sent back in letters that providers accept", async () => {
    const result = await runStep(server, ag1, [first("files.delete!", "{}") + end, text("fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [] });
    const [, , called, answered] = server.requests[1]?.body.messages ?? [];
    expect(called?.["tool_calls"]).toMatchObject([{ function: { name: "files_delete_" } }]);
    expect(JSON.stringify(answered)).toContain("There is no tool");
  });
});

describe("an answer in several choices", () => {
  const choice = (index: number, delta: object, finish_reason: string | null = null) => ({
    index,
    delta,
    finish_reason,
  });
  const lookup = { id: "k1", type: "function", function: { name: "lookup", ...args } };
  const textDelta = { content: "I look." };

  // Fails when the first choice of an event is taken for the whole answer.
  test.each([
    [
      "one event",
      event({ choices: [choice(0, textDelta, "stop"), choice(1, { tool_calls: [lookup] }, "tool_calls")] }) +
        DONE,
    ],
    [
      "events of their own",
      event({ choices: [choice(0, textDelta)] }) +
        event({ choices: [choice(1, { tool_calls: [{ index: 0, ...lookup }] })] }) +
        event({ choices: [choice(0, {}, "stop")] }) +
        event({ choices: [choice(1, {}, "tool_calls")] }) +
        DONE,
    ],
    [
      "one body",
      JSON.stringify({
        choices: [
          { index: 0, message: { role: "assistant", ...textDelta }, finish_reason: "stop" },
          { index: 1, message: { content: null, tool_calls: [lookup] }, finish_reason: "tool_calls" },
        ],
      }),
    ],
  ])("has its text in one and its call in another, in %s", async (_, stream) => {
    expect(await runStep(server, ag1, [stream, text("fine")])).toMatchObject(made);
  });

  // Fails when the texts of two choices become one.
  test.each([
    [
      "in order",
      event({ choices: [choice(0, { content: "al" }), choice(1, { content: "other" })] }) +
        event({ choices: [choice(1, { content: "more" }, "length")] }) +
        event({ choices: [choice(0, { content: "l" }, "stop")] }) +
        DONE,
    ],
    [
      "in another order",
      event({ choices: [choice(1, { content: "other" }), choice(0, { content: "all" })] }) +
        event({ choices: [choice(1, {}, "stop"), choice(0, {}, "stop")] }) +
        DONE,
    ],
  ])("is the first of them, %s", async (_, stream) => {
    expect(await run(oc, stream)).toMatchObject({ response: "all", retries: [] });
  });

  test("is cut when the choice that it is read from has no end", async () => {
    const stream =
      event({ choices: [choice(0, { content: "al" }), choice(1, { content: "other" })] }) +
      event({ choices: [choice(1, {}, "stop")] });
    expect(await run(oc, stream, text("all"))).toMatchObject({ response: "all", retries: ["model_cut"] });
  });

  test("is complete when a server counts its events in the index of the one choice", async () => {
    const stream =
      event({ choices: [choice(0, { content: "al" })] }) +
      event({ choices: [choice(1, { content: "l" }, "stop")] });
    expect(await run(oc, stream + DONE)).toMatchObject({ response: "all", retries: [] });
  });
});

describe("a text in the shape of", () => {
  test.each<[string, unknown]>([
    [
      "parts",
      [
        { type: "text", text: "al" },
        { type: "output_text", text: "l" },
      ],
    ],
    ["texts in a list", ["al", "l"]],
    ["one part", { type: "text", text: "all" }],
    ["a part with a value", [{ type: "text", text: { value: "all", annotations: [] } }]],
    ["a part with a content", [{ type: "text", content: "all" }]],
    [
      "parts beside a thought",
      [
        { type: "reasoning", text: "hm" },
        { type: "text", text: "all" },
      ],
    ],
  ])("%s is read", async (_, content) => {
    expect(await run(oc, chunk({ content }, "stop") + DONE)).toMatchObject({ response: "all", retries: [] });
  });
});

// Fails when a call whose arguments a gateway sends again, as a whole, is made twice.
test.each<[string, object]>([
  ["as they were", { arguments: '{"q":"a"}' }],
  ["with its name", { name: "lookup", arguments: '{"q":"a"}' }],
  ["as JSON in JSON", { name: "lookup", arguments: JSON.stringify('{"q":"a"}') }],
])("a call whose arguments come a second time, %s, is made once", async (_, fn) => {
  const repeatedCall = chunk({ tool_calls: [{ index: 0, id: "k1", type: "function", function: fn }] });
  const stream = callChunk('{"q":') + chunk({ tool_calls: [{ index: 0, function: { arguments: '"a"}' } }] });
  const result = await runStep(server, { ...ag1, model: oc }, [stream + repeatedCall + end, text("fine")]);
  expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }] });
});

// Fails when the run ends with a tool that is away, although its agent may go on without it, or when the step is not tried again before.
test("a tool that is away in all tries of the step is no end of an agent", async () => {
  const calling = callChunk('{"q":"a"}') + chunk({}, "tool_calls") + DONE;
  const down = async () => {
    throw new RetryableError("tool_unavailable", "the tool answered HTTP 503", { answered: true });
  };
  const result = await runStep(server, ag1, [calling, text("fine")], {}, down);
  expect(result).toMatchObject({ response: "fine", retries: ["tool_unavailable", "tool_unavailable"] });
  expect(result.toolCalls).toHaveLength(3);
});
