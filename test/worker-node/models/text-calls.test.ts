import { describe, expect, test } from "vitest";
import { callsInText } from "../../../worker-node/models/text-calls.ts";
import { cpuMs } from "../../services/cpu-time.ts";
import { aProvider, ag1, llm1, runStep } from "./model-run.ts";
import { DONE, an, chunk, counts, go, oc, text, whole } from "./provider-server.ts";

const { server } = aProvider();
const made = { status: "completed", response: "fine", text: "fine", toolCalls: [{ q: "a" }], retries: [] };
const json = '{"name": "lookup", "arguments": {"q": "a"}}';

/** Ways in which models write a call of `lookup` with the argument q of "a". */
const forms: [string, string][] = [
  ["Hermes, Qwen", `<tool_call>\n${json}\n</tool_call>`],
  ["Qwen, without the closing mark", `<tool_call>\n${json}`],
  ["Qwen, after a thought", `<think>\nI look it up.\n</think>\n\n<tool_call>\n${json}\n</tool_call>`],
  [
    "Qwen3-Coder",
    "<tool_call>\n<function=lookup>\n<parameter=q>\na\n</parameter>\n</function>\n</tool_call>",
  ],
  ["Qwen3-Coder, without the outer mark", "<function=lookup><parameter=q>a</parameter></function>"],
  ["GLM", "<tool_call>lookup\n<arg_key>q</arg_key>\n<arg_value>a</arg_value>\n</tool_call>"],
  ["Mistral", `[TOOL_CALLS][${json}]`],
  ["Mistral, newer", '[TOOL_CALLS]lookup{"q": "a"}'],
  ["Mistral, newest", '[TOOL_CALLS]lookup[CALL_ID]abcdefghi[ARGS]{"q": "a"}'],
  ["Llama 3", `<|python_tag|>{"name": "lookup", "parameters": {"q": "a"}}<|eom_id|>`],
  ["Llama 3, without the mark", '{"type": "function", "name": "lookup", "parameters": {"q": "a"}}'],
  ["Llama 3.1", '<function=lookup>{"q": "a"}</function>'],
  ["Granite, Phi", `<|tool_call|>[${json}]<|/tool_call|>`],
  [
    "Kimi K2",
    '<|tool_calls_section_begin|><|tool_call_begin|>functions.lookup:0<|tool_call_argument_begin|>{"q": "a"}<|tool_call_end|><|tool_calls_section_end|>',
  ],
  [
    "DeepSeek V3",
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>lookup\n```json\n{"q": "a"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
  ],
  [
    "DeepSeek V3.1",
    '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>lookup<｜tool▁sep｜>{"q": "a"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
  ],
  [
    "MiniMax",
    '<minimax:tool_call>\n<invoke name="lookup">\n<parameter name="q">a</parameter>\n</invoke>\n</minimax:tool_call>',
  ],
  [
    "Cohere",
    '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "lookup", "parameters": {"q": "a"}}]<|END_ACTION|>',
  ],
  [
    "gpt-oss",
    '<|channel|>analysis<|message|>I look it up.<|end|><|start|>assistant<|channel|>commentary to=functions.lookup <|constrain|>json<|message|>{"q":"a"}<|call|>',
  ],
  [
    "DeepSeek V3.2",
    '<｜DSML｜function_calls>\n<｜DSML｜invoke name="lookup">\n<｜DSML｜parameter name="q" string="true">a</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>',
  ],
  ...["｜｜", "|", " | ", "‖"].map((bar): [string, string] => [
    `DeepSeek V4, with ${bar}`,
    `<${bar}DSML${bar}tool_calls><${bar}DSML${bar}invoke name="lookup"><${bar}DSML${bar}parameter name="q">a</${bar}DSML${bar}parameter></${bar}DSML${bar}invoke></${bar}DSML${bar}tool_calls>`,
  ]),
  ["Gemma 4", '<|tool_call>call:lookup{q:<|"|>a<|"|>}<tool_call|>'],
  ["a fenced block", `\`\`\`json\n${json}\n\`\`\``],
  [
    "OpenAI's own JSON",
    '{"tool_calls": [{"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": "{\\"q\\": \\"a\\"}"}}]}',
  ],
];

/** Forms that begin with a mark, and not with what prose has too. */
const marked = forms.filter(
  ([, written]) => /^[<[]/.test(written) && !/^<(?:think>|\|channel\|>)/.test(written),
);

/** A stream that brings a text in pieces of a few characters. */
const inPieces = (content: string, finish = "stop") =>
  (content.match(/[\s\S]{1,5}/g) ?? []).map((piece) => chunk({ content: piece })).join("") +
  chunk({}, finish) +
  counts(3, 2) +
  DONE;

describe("a call that a model writes as text", () => {
  // Fails when the text is taken for the agent's answer.
  test.each(forms)("is made: %s", async (_, written) => {
    expect(await runStep(server, ag1, [inPieces(written), text("fine")])).toMatchObject(made);
    const [, assistant, result] = server.requests[1]?.body.messages.slice(-3) ?? [];
    expect(assistant).toMatchObject({
      tool_calls: [{ function: { name: "lookup", arguments: '{"q":"a"}' } }],
    });
    expect(result).toMatchObject({ role: "tool" });
    // The model would see its call twice, and servers' templates refuse the marks of their own language.
    expect(JSON.stringify(assistant?.["content"] ?? "")).not.toMatch(/lookup|<\||tool_call/);
  });

  // Fails when the whole text is taken for the answer: the agent would end without its tool.
  test.each(marked)("is made after prose, which is no part of it: %s", async (_, written) => {
    const prose = "Let me see: in `<tool_call>` [1] < 2.\n\n";
    const result = await runStep(server, ag1, [inPieces(prose + written), text("fine")]);
    expect(result).toMatchObject({ ...made, thoughts: [prose] });
    const [, assistant] = server.requests[1]?.body.messages.slice(-3) ?? [];
    expect(assistant).toMatchObject({ content: prose, tool_calls: [{ function: { name: "lookup" } }] });
  });

  test.each([
    ["reasoning_content", (call: string) => chunk({ reasoning_content: call }) + text("\n")],
    ["a tag", (call: string) => text(`<think>${call}</think>\n`)],
  ])("is made that is the end of a thought in %s, without a text after it", async (_, thought) => {
    const [, kimi = ""] = forms.find(([name]) => name === "Kimi K2") ?? [];
    const script = [thought(`I look it up. ${kimi}`), text("fine")];
    expect(await runStep(server, { ...ag1, model: oc }, script)).toMatchObject(made);
  });

  test.each([an, go])("is made: %s", async (model) => {
    const script = [whole(model, `<tool_call>${json}</tool_call>`), whole(model, "fine")];
    expect(await runStep(server, { ...ag1, model }, script)).toMatchObject(made);
  });

  test("is made where the finish reason promises a call", async () => {
    const script = [inPieces(`<tool_call>${json}</tool_call>`, "tool_calls"), text("fine")];
    expect(await runStep(server, ag1, script)).toMatchObject(made);
  });

  test("is made once for each call, also when two are alike, and each has its own result", async () => {
    const written = `<tool_call>${json}</tool_call>\n<tool_call>${json}</tool_call>`;
    const result = await runStep(server, ag1, [inPieces(written), text("fine")]);
    expect(result).toMatchObject({ ...made, toolCalls: [{ q: "a" }, { q: "a" }] });
    const results = server.requests[1]?.body.messages.filter(({ role }) => role === "tool") ?? [];
    expect(new Set(results.map(({ tool_call_id }) => tool_call_id)).size).toBe(2);
  });

  test("whose arguments do not fit is reported to the model", async () => {
    const wrong = '<tool_call>{"name": "lookup", "arguments": {"q": [7]}}</tool_call>';
    const result = await runStep(server, ag1, [text(wrong), text("fine")]);
    expect(result).toMatchObject({ ...made, toolCalls: [] });
    expect(JSON.stringify(server.requests[1]?.body.messages.at(-1))).toContain("must be of type string");
  });

  // Fails when text is taken for a call.
  test.each([
    ["prose around it", `I would call <tool_call>${json}</tool_call>.`],
    ["a fence around it", `Like so:\n\`\`\`xml\n<tool_call>${json}</tool_call>\n\`\`\``],
    ["a fence before it", `Like so:\n\`\`\`\n<tool_call>${json}</tool_call>`],
    ["quotation marks", `Like "<tool_call>${json}</tool_call>`],
    ["a mark in prose", "Models write <tool_call> and [TOOL_CALLS] before a call."],
    ["a cut call after prose", 'Like so: <tool_call>{"name": "lookup", "argum'],
    ["prose before it and no mark", `Like so:\n${json}`],
    ["prose after it", `${json}\nThis is how to call it.`],
    ["a tool that is not offered", '<tool_call>{"name": "other", "arguments": {}}</tool_call>'],
    ["one of two tools that is not offered", `${json}\n{"name": "other", "arguments": {}}`],
    ["arguments that are no object", '{"name": "lookup", "arguments": ["a"]}'],
    ["no arguments", '{"name": "lookup"}'],
    ["other fields", '{"name": "lookup", "arguments": {"q": "a"}, "why": "b"}'],
    ["a tool's definition", '{"name": "lookup", "parameters": {"type": "object", "properties": {"q": {}}}}'],
    ["JSON of something else", '{"name": "Ada", "type": "person"}'],
    ["a list of something else", '[{"name": "lookup"}]'],
    ["a code block", '```python\nlookup(q="a")\n```'],
    ["a mark alone", "<tool_call>"],
    ["cut JSON", '<tool_call>{"name": "lookup", "argum'],
    ["a name alone", "lookup"],
  ])("is text with %s", async (_, written) => {
    const answer = { response: written, text: written, toolCalls: [], retries: [] };
    expect(await runStep(server, ag1, [inPieces(written)])).toMatchObject(answer);
  });

  test("is text where no tool was offered", async () => {
    const written = `<tool_call>${json}</tool_call>`;
    expect(await runStep(server, { ...llm1, model: oc }, [inPieces(written)])).toMatchObject({
      response: written,
      text: written,
    });
  });
});

const string = {
  type: "object",
  properties: { q: { type: "string" }, n: { type: "integer" }, l: { type: "array" } },
};
const spec = { name: "lookup", description: "", parameters: string };

test("arguments in marks have the types of the tool's schema", () => {
  const parameter = (name: string, value: string) => `<parameter=${name}>\n${value}\n</parameter>`;
  const written = ["7", "12345678901234567890", "[1]"];
  const [q = "", n = "", l = ""] = written;
  const call = `<function=lookup>${parameter("q", q)}${parameter("n", n)}${parameter("l", l)}</function>`;
  // An integer beyond 2^53 is the text of its digits.
  expect(callsInText(call, [spec])).toEqual([{ name: "lookup", args: { q: "7", n, l: [1] } }]);
});

// Fails when a part of the text is read again for each part after it.
test.each([
  "<tool_call>".repeat(60_000),
  `<function=lookup>${"<parameter=q>".repeat(50_000)}`,
  `<tool_call>lookup${"<arg_key>q</arg_key>".repeat(40_000)}`,
  "{".repeat(700_000),
  `[TOOL_CALLS]${"[".repeat(700_000)}`,
])("a text that is no call is read in linear time: %.20s", (written) => {
  const startedMs = cpuMs();
  expect(callsInText(written, [spec])).toBeNull();
  expect(cpuMs() - startedMs).toBeLessThan(2_000);
});
