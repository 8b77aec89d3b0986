import { describe, expect, test } from "vitest";
import { cpuMs } from "../../services/cpu-time.ts";
import { aProvider, ag1, runStep } from "./model-run.ts";
import {
  DONE,
  an,
  anthropicBlock,
  anthropicEnd,
  anthropicEvent,
  anthropicStart,
  anthropicText,
  call,
  callChunk,
  chunk,
  counts,
  event,
  go,
  googleChunk,
  oa,
  oc,
  text,
  whole,
} from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

const { server, run } = aProvider();

const odd: [string, string][] = [
  ["an empty object", event({})],
  ["null", event(null)],
  ["a number", event(7)],
  ["an empty list", event([])],
  ["a text", event("hello")],
  ["empty data", "data:\n\n"],
  ["a comment", ": hello\n\n"],
  ["words", "data: connected\n\n"],
  ["a ping in words", "event: ping\ndata: pong\n\n"],
  ["a ping", event({ type: "ping" }, "ping")],
  ["choices of null", event({ id: "c", choices: null })],
  ["an empty choice", event({ id: "c", choices: [{}] })],
  ["a choice of null", event({ id: "c", choices: [null] })],
  ["a delta of null", event({ id: "c", choices: [{ index: 0, delta: null, finish_reason: null }] })],
  ["content of null", chunk({ role: "assistant", content: null, tool_calls: null })],
  ["another role", chunk({ role: "model", content: "" })],
];

// Fails when the search for the end of a stream scans a sequence of lines again from each line: it held up the worker for seconds.
test("an event of many empty lines is read in linear time", async () => {
  const lines = `data: connected\n${"data:\n".repeat(60_000)}data: x\n\n`;
  const startedMs = cpuMs();
  expect(await run(oc, [lines, chunk({ content: "said" }), chunk({}, "stop"), DONE].join(""))).toMatchObject({
    response: "said",
  });
  expect(cpuMs() - startedMs).toBeLessThan(4_000);
});

const PIECES = 2_100;
const KIB = "x".repeat(1_024);

/** More than 2 MiB of an answer in the form of each provider, in pieces. */
const endless: [string, string, string][] = [
  ["a text", oc, chunk({ content: KIB }).repeat(PIECES) + chunk({}, "stop") + DONE],
  ["thoughts", oc, chunk({ reasoning_content: KIB }).repeat(2 * PIECES) + chunk({}, "stop") + DONE],
  [
    "arguments",
    oc,
    callChunk(`{"q":"`) + callChunk(KIB, { id: undefined }).repeat(PIECES) + chunk({}, "tool_calls"),
  ],
  ["a text", an, anthropicStart() + anthropicText(KIB.repeat(PIECES)) + anthropicEnd()],
  ["a text", go, googleChunk([{ text: KIB }]).repeat(PIECES) + googleChunk([], "STOP")],
];

describe("an answer of more than 2 MiB", () => {
  test.each(endless)("of %s from %s ends the run, and is not paid for again", async (_, model, body) => {
    const result = await runStep(server, { ...ag1, model }, [body]);
    expect(result).toMatchObject({ status: "failed", code: "answer_too_large", retries: [] });
    expect(result.message).toContain("larger than 2097152 bytes");
  });
});

test("an answer of more than 500 tool calls ends the run, and none of them is made", async () => {
  const calls = (count: number) =>
    Array.from({ length: count }, (_, index) => callChunk(`{"q":${index}}`, { index, id: `k${index}` })).join(
      "",
    );
  const answer = (count: number) => calls(count) + chunk({}, "tool_calls") + DONE;
  const refused = await runStep(server, { ...ag1, model: oc }, [answer(501)]);
  expect(refused).toMatchObject({ status: "failed", code: "answer_too_large", toolCalls: [], retries: [] });
  expect(refused.message).toContain("more than 500 tool calls");
});

describe.each([oc, oa])("%s: an event that carries nothing", (model) => {
  // Fails when an event of another shape than the SDK's throws the answer away.
  test.each(odd)("such as %s loses no answer, wherever it stands", async (_, emptyEvent) => {
    const usage = counts(3, 2);
    const parts = [chunk({ content: "all " }), chunk({ content: "said" }), chunk({}, "stop"), usage, DONE];
    for (const at of [0, 1, 2, 3, 4]) {
      const stream = [...parts.slice(0, at), emptyEvent, ...parts.slice(at)].join("");
      expect(await run(model, stream)).toMatchObject({ response: "all said", tokens: 5, retries: [] });
    }
  });

  test.each([
    ["null", event({ id: "c", choices: null, usage: { prompt_tokens: 3, completion_tokens: 2 } })],
    ["missing", event({ id: "c", usage: { prompt_tokens: 3, completion_tokens: 2 } })],
  ])("except for counts of tokens, with choices that are %s, has its counts charged", async (_, usage) => {
    expect(await run(model, chunk({ content: "all" }) + chunk({}, "stop") + usage + DONE)).toMatchObject({
      response: "all",
      tokens: 5,
    });
  });
});

test.each([
  [
    "an",
    an,
    (emptyEvent: string) =>
      anthropicStart() + emptyEvent + anthropicText("all") + emptyEvent + anthropicEnd(),
  ],
  [
    "go",
    go,
    (emptyEvent: string) =>
      emptyEvent +
      googleChunk([{ text: "al" }]) +
      emptyEvent +
      googleChunk([{ text: "l" }], "STOP") +
      emptyEvent,
  ],
])("%s: an event that carries nothing loses no answer", async (_, model, stream) => {
  for (const emptyEvent of [
    event({}),
    event(null),
    event({ candidates: null }),
    anthropicEvent("ping"),
    anthropicEvent("news"),
  ]) {
    expect(await run(model, stream(emptyEvent))).toMatchObject({ response: "all", retries: [] });
  }
});

describe("a stream in another spelling", () => {
  test.each([
    ["without spaces after the colon", text("all").replaceAll("data: ", "data:")],
    ["with CR LF", text("all").replaceAll("\n", "\r\n")],
    ["without the last empty line", text("all").trimEnd()],
    ["with a byte order mark", `\ufeff${text("all")}`],
    ["with comments between its lines", text("all").replaceAll("\n\n", "\n: keep-alive\n\n: ping\n\n")],
    ["with CR alone", text("all").replaceAll("\n", "\r")],
    [
      "as lines of JSON",
      `${JSON.stringify({ choices: [{ delta: { content: "al" } }] })}\n${JSON.stringify({ choices: [{ delta: { content: "l" }, finish_reason: "stop" }] })}\n`,
    ],
    ["without DONE", chunk({ content: "all" }) + chunk({}, "stop")],
    [
      "as one message",
      event({
        id: "c",
        choices: [{ index: 0, message: { role: "assistant", content: "all" }, finish_reason: "stop" }],
      }),
    ],
    [
      "as one body",
      JSON.stringify({ id: "c", choices: [{ message: { content: "all" }, finish_reason: "stop" }] }),
    ],
  ])("%s is read", async (_, stream) => {
    expect(await run(oc, stream)).toMatchObject({ response: "all", retries: [] });
  });

  test("in pieces of one byte keeps its letters", async () => {
    const bytes = Buffer.from(text("Grüße 🙂"));
    const slow: Answer = (response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      const send = (at: number): void => {
        if (at >= bytes.length) return void response.end();
        response.write(bytes.subarray(at, at + 1), () => setImmediate(send, at + 1));
      };
      send(0);
    };
    expect(await run(oc, slow)).toMatchObject({ response: "Grüße 🙂" });
  });

  test("of an event that is broken is never swallowed", async () => {
    const broken = 'data: {"id":"c","choices":[{"index":0,"delta":{"content":"lo\n\n';
    const result = await run(oc, chunk({ content: "a " }) + broken + chunk({}, "stop") + DONE, text("all"));
    expect(result).toMatchObject({ response: "all", retries: ["model_unreadable"] });
  });
});

describe.each([oc, oa])("%s: a tool call", (model) => {
  const agent = { ...ag1, model };

  // Fails when a value of plain meaning and of another JSON type loses the answer.
  test.each([
    ["an object as arguments", call({ q: "a" })],
    ["arguments that are JSON text twice over", call(JSON.stringify('{"q":"a"}'))],
    [
      "an empty object before its arguments",
      callChunk("{}") +
        chunk({ tool_calls: [{ index: 0, function: { arguments: '{"q":"a"}' } }] }) +
        chunk({}, "tool_calls") +
        DONE,
    ],
    ["a mark after its arguments", call('{"q":"a"}</tool_call>')],
    [
      "space around its name",
      callChunk('{"q":"a"}', { function: { name: " lookup\n", arguments: '{"q":"a"}' } }) +
        chunk({}, "tool_calls") +
        DONE,
    ],
    ["no index", callChunk('{"q":"a"}', { index: undefined }) + chunk({}, "tool_calls") + DONE],
    ["an index of null", callChunk('{"q":"a"}', { index: null }) + chunk({}, "tool_calls") + DONE],
    ["an index as text", callChunk('{"q":"a"}', { index: "0" }) + chunk({}, "tool_calls") + DONE],
    ["no type", callChunk('{"q":"a"}', { type: undefined }) + chunk({}, "tool_calls") + DONE],
    ["a number as id", callChunk('{"q":"a"}', { id: 7 }) + chunk({}, "tool_calls") + DONE],
    ["no id", callChunk('{"q":"a"}', { id: null }) + chunk({}, "tool_calls") + DONE],
    [
      "the old form",
      chunk({ function_call: { name: "lookup", arguments: '{"q":"a"}' } }) +
        chunk({}, "function_call") +
        DONE,
    ],
    [
      "an object in place of the list",
      chunk({ tool_calls: { id: "k", function: { name: "lookup", arguments: '{"q":"a"}' } } }) +
        chunk({}, "tool_calls") +
        DONE,
    ],
    ["the word stop", callChunk('{"q":"a"}') + chunk({}, "stop") + DONE],
    [
      "a name of null in later pieces",
      callChunk('{"q":') +
        chunk({ tool_calls: [{ index: 0, function: { name: null, arguments: '"a"}' } }] }) +
        chunk({}, "tool_calls") +
        DONE,
    ],
  ])("with %s is made", async (_, stream) => {
    const result = await runStep(server, agent, [stream, text("fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }], retries: [] });
    expect(server.requests).toHaveLength(2);
  });

  // Fails when arguments that cannot be read become none, and the tool is called without them.
  test.each([`{"q":${"[".repeat(70)}${"]".repeat(70)}}`, '{"q":"a"}{"q":"b"}', '{"q":"a'])(
    "with the arguments %s is not made, and the model gets the reason",
    async (args) => {
      const result = await runStep(server, agent, [call(args), text("fine")]);
      expect(result).toMatchObject({ response: "fine", toolCalls: [], retries: [] });
      expect(JSON.stringify(server.requests[1]?.body.messages)).toContain("must be one JSON object");
    },
  );

  test("of two with one index and two ids has its own arguments", async () => {
    const stream =
      callChunk('{"q":"a"}') + callChunk('{"q":"b"}', { id: "k2" }) + chunk({}, "tool_calls") + DONE;
    const result = await runStep(server, agent, [stream, text("fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }, { q: "b" }] });
  });
});

// Fails when the SDK's numbers, or those of an event, are taken for the model's.
test("integers beyond 2^53 in a call's arguments keep their digits, with every provider", async () => {
  const args = '{"q":"a","id":12345678901234567890}';
  const block = { type: "tool_use", id: "t1", name: "lookup", input: {} };
  const delta = { type: "input_json_delta", partial_json: args };
  const google = googleChunk([{ functionCall: { name: "lookup", args: { id: 0 } } }], "STOP");
  for (const [model, stream] of [
    [oc, call(args)],
    [
      oa,
      callChunk('{"q":"a","id":123456789') +
        chunk({ tool_calls: [{ index: 0, function: { arguments: "01234567890}" } }] }, "tool_calls") +
        DONE,
    ],
    [an, anthropicStart() + anthropicBlock(0, block, delta) + anthropicEnd("tool_use")],
    [go, google.replace('{"id":0}', args)],
  ] as const) {
    const result = await runStep(server, { ...ag1, model }, [stream, whole(model, "fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a", id: "12345678901234567890" }] });
  }
});

test("an: a call whose arguments come as objects, or with its block, is made", async () => {
  const block = { type: "tool_use", id: "t1", name: "lookup", input: null };
  const deltas = [{ type: "input_json_delta", partial_json: { q: "a" } }];
  for (const made of [
    anthropicBlock(0, block, ...deltas),
    anthropicBlock(0, { ...block, input: '{"q":"a"}' }),
  ]) {
    const stream = anthropicStart() + made + anthropicEnd("tool_use");
    const result = await runStep(server, { ...ag1, model: an }, [stream, whole(an, "fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }], retries: [] });
  }
});

// Fails when the text or the call that a server repeats at the end of its stream is a second one.
test("a whole message at the end of a stream adds only what no piece has brought", async () => {
  const message = (fields: object, finish_reason: string) =>
    event({ object: "chat.completion", choices: [{ index: 0, message: fields, finish_reason }] }) + DONE;
  const content = "all";
  expect(
    await run(oc, chunk({ content: "al" }) + chunk({ content: "l" }) + message({ content }, "stop")),
  ).toMatchObject({ response: "all", text: "all" });
  expect(
    await run(oc, event({ choices: [{ message: { content: "al" } }] }) + message({ content: "l" }, "stop")),
  ).toMatchObject({ response: "all" });
  const lookup = { id: "k1", type: "function", function: { name: "lookup", arguments: '{"q":"a"}' } };
  for (const pieces of [chunk({ content }), chunk({ content }) + callChunk('{"q":"a"}')]) {
    const stream = pieces + message({ content, tool_calls: [lookup] }, "tool_calls");
    expect(await runStep(server, ag1, [stream, text("fine")])).toMatchObject({
      response: "fine",
      toolCalls: [{ q: "a" }],
    });
    expect(server.requests[1]?.body.messages[2]).toMatchObject({ content });
  }
});

// Fails when an answer that is not streamed, or that a block brings at its start, is lost.
test("an: a whole message in place of a stream, and texts that come with their block, are read", async () => {
  const content = [
    { type: "thinking", thinking: "need data", signature: "sig" },
    { type: "text", text: "I look." },
    { type: "tool_use", id: "t1", name: "lookup", input: { q: "a" } },
  ];
  const usage = { input_tokens: 3, output_tokens: 2 };
  const message = {
    id: "m",
    type: "message",
    role: "assistant",
    model: "x",
    content,
    stop_reason: "tool_use",
  };
  const stream =
    anthropicStart() +
    content.map((block, i) => anthropicBlock(i, block)).join("") +
    anthropicEnd("tool_use", usage);
  for (const answer of [JSON.stringify({ ...message, usage }), stream]) {
    const result = await runStep(server, { ...ag1, model: an }, [answer, whole(an, "fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }], retries: [], tokens: 10 });
    expect(server.requests[1]?.body.messages[1]).toMatchObject({ content });
  }
});

// Fails when an event's fields of other types, which nothing needs, throw its part of the answer away.
test.each<[string, string, string]>([
  [
    "OpenAI's",
    oc,
    event({
      id: 5,
      model: null,
      created: "x",
      system_fingerprint: 7,
      choices: [
        { index: "0", delta: { role: "bot", content: "all" }, logprobs: "no", finish_reason: "stop" },
      ],
    }) + DONE,
  ],
  [
    "Google's",
    go,
    event({
      modelVersion: 5,
      responseId: {},
      usageMetadata: { promptTokenCount: "x" },
      candidates: [
        {
          index: "0",
          content: { role: 3, parts: [{ text: "all", thoughtSignature: 5 }] },
          finishReason: "STOP",
          safetyRatings: "none",
          groundingMetadata: { groundingChunks: [{ new: 1 }] },
        },
      ],
    }),
  ],
  [
    "Anthropic's",
    an,
    anthropicEvent("message_start", { message: { id: 5, model: {}, content: "", usage: null } }) +
      anthropicBlock(
        0,
        { type: "text", text: null, citations: "none" },
        { type: "text_delta", text: "all" },
      ) +
      anthropicEvent("message_delta", { delta: { stop_reason: "end_turn", container: 5 }, usage: [] }) +
      anthropicEvent("message_stop"),
  ],
])("fields of other types lose no answer: %s", async (_, model, stream) => {
  expect(await run(model, stream)).toMatchObject({ response: "all", retries: [] });
});

test.each<[string, string]>([
  [
    "one after the other in one line",
    [chunk({ content: "all" }), chunk({}, "stop")].join("").replaceAll("\n\ndata: ", ""),
  ],
  ["without the empty lines between them", `${text("all", counts(3, 2)).replaceAll("\n\n", "\n")}\n`],
  ["with another spelling of the end", text("all").replace("[DONE]", "[done]")],
  [
    "with words at the end",
    `${chunk({ content: "all" })}${chunk({}, "stop")}event: end\ndata: stream ended\n\n`,
  ],
])("events are read %s", async (_, stream) => {
  expect(await run(oc, stream)).toMatchObject({ response: "all", retries: [] });
});

test("an answer to a request for JSON that a gateway has turned into its value is text again", async () => {
  expect(await run(oc, chunk({ content: 42 }, "stop") + DONE)).toMatchObject({ response: "42" });
  expect(await run(oc, chunk({ content: false }, "stop") + DONE)).toMatchObject({ response: "false" });
});

// Fails when a kind of block or delta that is new, or a part that a gateway has left out, throws the answer away.
test.each<[string, string]>([
  [
    "a block of another type",
    anthropicBlock(0, { type: "hologram", text: "x" }, { type: "text_delta", text: "x" }) +
      anthropicText("all", 1),
  ],
  [
    "a delta of another type",
    anthropicBlock(
      0,
      { type: "text", text: "" },
      { type: "glow_delta" },
      { type: "text_delta", text: "all" },
    ),
  ],
  [
    "a tool of the provider",
    anthropicBlock(0, { type: "server_tool_use", id: "s", name: "web_search", input: {} }) +
      anthropicBlock(1, { type: "web_search_tool_result", tool_use_id: "s", content: [] }) +
      anthropicText("all", 2),
  ],
  [
    "no index",
    [
      anthropicEvent("content_block_start", { content_block: { type: "text", text: "" } }),
      anthropicEvent("content_block_delta", { delta: { type: "text_delta", text: "all" } }),
      anthropicEvent("content_block_stop"),
    ].join(""),
  ],
  [
    "no start",
    anthropicEvent("content_block_delta", { index: 0, delta: { type: "text_delta", text: "all" } }),
  ],
])("an: %s loses no answer", async (_, blocks) => {
  const stream = anthropicStart() + blocks + anthropicEnd();
  expect(await run(an, stream)).toMatchObject({ response: "all", text: "all", retries: [], tokens: 5 });
});

test("an: a call without an id gets one, which goes back with its result", async () => {
  const block = { type: "tool_use", id: null, name: "lookup", input: {} };
  const stream =
    anthropicStart() +
    anthropicBlock(0, block, { type: "input_json_delta", partial_json: '{"q":"a"}' }) +
    anthropicEnd("tool_use");
  const result = await runStep(server, { ...ag1, model: an }, [stream, whole(an, "fine")]);
  expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }], retries: [] });
  const [, called, answered] = server.requests[1]?.body.messages ?? [];
  const id = /"id":"(toolu_[\w-]+)"/.exec(JSON.stringify(called))?.[1];
  expect(JSON.stringify(answered)).toContain(`"tool_use_id":"${id}"`);
});

// Fails when the SDK's exception over one call hides the provider's error, or is called a lost connection.
test("a call without a name is unreadable, and an error of the provider beside it comes first", async () => {
  const nameless = callChunk("{}", { function: { name: "", arguments: "{}" } });
  expect(
    await runStep(server, { ...ag1, model: oc }, [nameless + chunk({}, "tool_calls") + DONE, text()]),
  ).toMatchObject({ response: "fine", retries: ["model_unreadable"] });
  const error = event({ error: { code: "insufficient_quota" } });
  expect(await runStep(server, { ...ag1, model: oc }, [nameless + error, text()])).toMatchObject({
    code: "model_unauthorized",
  });
});

// Fails when a kind of citation that the SDK does not know takes the whole answer with it.
test("an: citations of any kind are passed over", async () => {
  const block = anthropicBlock(
    0,
    { type: "text", text: "", citations: [] },
    { type: "citations_delta", citation: { type: "location_of_next_year", at: 1 } },
    { type: "text_delta", text: "all said" },
  );
  const result = await run(an, anthropicStart() + block + anthropicEnd());
  expect(result).toMatchObject({ response: "all said", retries: [] });
});

test("go: an answer that a proxy has put into `response` is read", async () => {
  const content = { role: "model", parts: [{ text: "all said" }] };
  const usageMetadata = { promptTokenCount: 3, candidatesTokenCount: 2 };
  const response = { candidates: [{ content, finishReason: "STOP", index: 0 }], usageMetadata };
  expect(await run(go, event({ response, traceId: "t" }))).toMatchObject({ response: "all said", tokens: 5 });
});
