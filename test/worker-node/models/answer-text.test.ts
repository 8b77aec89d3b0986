import { describe, expect, test } from "vitest";
import { cpuMs } from "../../services/cpu-time.ts";
import { PartCollector } from "../../../worker-node/models/answer-parts.ts";
import { AnswerText } from "../../../worker-node/models/answer-text.ts";

const PIECES = 64_000;

// Fails when a text is read again with each piece of it: an answer of 256 KB then takes ten seconds or more of the worker's thread, which
// other tenants need.
describe("the time for a text in small pieces is linear in its length", () => {
  test.each([
    ["an answer", "Hello", "abcd"],
    ["a call", '<tool_call>{"name": "write", "arguments": {"text": "', "abcd"],
    ["JSON that may be a call", '{"name": "', "abcd"],
    ["a thought of gpt-oss without its tokens", "analysisWe need", "abcd"],
    ["prose and a call", 'So: <tool_call>{"name": "write", "arguments": {"text": "', "abcd"],
    ["prose with marks", "So: ", "`<tool_call>` "],
    ["prose with fences", "So: ", "```\n"],
    ["white space", "", "    "],
    ["white space after a thought of gpt-oss", "<|channel|>analysis<|message|>x<|end|>", "    "],
    ["white space after a thought", "<think>x</think>", "    "],
  ])("%s", (_, beginning, piece) => {
    const published: string[] = [];
    const text = new AnswerText({ onText: (each) => published.push(each) }, new PartCollector(), true);
    const startedMs = cpuMs();
    text.add("1", beginning, undefined);
    for (let i = 0; i < PIECES; i++) text.add("1", piece, undefined);
    text.end();
    text.release("");
    expect(cpuMs() - startedMs).toBeLessThan(4_000);
    expect(published.join("")).toBe(text.text);
  });
});
