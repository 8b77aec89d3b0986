import { expect, test } from "vitest";
import { Thoughts } from "../../../worker-node/models/thoughts.ts";
import { cpuMs } from "../../services/cpu-time.ts";

/** The answer in a text that arrives in pieces of `size` characters. */
function answerOf(text: string, size: number): string {
  const thoughts = new Thoughts();
  const parts: string[] = [];
  for (let at = 0; at < text.length; at += size) {
    const piece = thoughts.push(text.slice(at, at + size));
    if (piece.restarts) parts.length = 0;
    parts.push(piece.text);
  }
  return parts.join("") + thoughts.end().text;
}

test.each([
  ["  text ", "  text "],
  ["<THINK>a</Think> b", "b"],
  ["</think>\nb", "b"],
  ["a\n[/think]b", "b"],
  ["<think>a<think>b</think> c\n</think>d", "d"],
  ["a</think>b", "a</think>b"],
  ["a\n</thinker>b", "a\n</thinker>b"],
  ["a\n<b>c</b>\n<", "a\n<b>c</b>\n<"],
  ["[1] is a citation", "[1] is a citation"],
  ["<think>a</think><think>b", "<think>b"],
  ["<seed:think>a</seed:think>b", "b"],
  ["a\n</seed:think>b", "b"],
  ["◁think▷a◁/think▷b", "b"],
  ["a\n◁/think▷b", "b"],
  ["<think >a</think >b", "b"],
  ["<think>a </thinker></thinking> b</think>c", "c"],
  ['<think time="3">a</think>b', "b"],
  ["<mm:think>a</mm:think>b", "b"],
  ["<REASONING_SCRATCHPAD>a</REASONING_SCRATCHPAD>b", "b"],
  ["<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>b", "b"],
  ["<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b", "b"],
  ["<|channel>thought\na\n<channel|>b", "b"],
  ["I ask for the file.</think>I cannot read it.", "I cannot read it."],
  ["它在这里。</think>b", "b"],
  ["a `</think>` b </think> c", "a `</think>` b </think> c"],
  ["It ends.</b>b", "It ends.</b>b"],
  ["<thinks>a</thinks>b", "<thinks>a</thinks>b"],
  ["<think <b", "<think <b"],
  // A prompt may ask for them.
  ["<analysis>a</analysis>b", "<analysis>a</analysis>b"],
  ["<reasoning>a</reasoning>b", "<reasoning>a</reasoning>b"],
])("%j has the answer %j, whatever the pieces in which it comes", (text, answer) => {
  for (const size of [1, 2, 3, 7, 1_000]) expect(answerOf(text, size)).toBe(answer);
});

// Fails when what is held is read again with every piece.
test.each([
  `<think>${"x\n".repeat(300_000)}</think>answer`,
  `${"x\n<y".repeat(150_000)}answer`,
  `<think ${"x".repeat(600_000)}answer`,
])("takes linear time: %.10s", (text) => {
  const startedMs = cpuMs();
  expect(answerOf(text, 4).endsWith("answer")).toBe(true);
  expect(cpuMs() - startedMs).toBeLessThan(3_000);
});
