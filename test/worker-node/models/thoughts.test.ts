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
])("%j has the answer %j, whatever the pieces in which it comes", (text, answer) => {
  for (const size of [1, 2, 3, 7, 1_000]) expect(answerOf(text, size)).toBe(answer);
});

// Fails when what is held is read again with every piece.
test.each([`<think>${"x\n".repeat(300_000)}</think>answer`, `${"x\n<y".repeat(150_000)}answer`])(
  "takes linear time: %.10s",
  (text) => {
    const startedMs = cpuMs();
    expect(answerOf(text, 4).endsWith("answer")).toBe(true);
    expect(cpuMs() - startedMs).toBeLessThan(3_000);
  },
);
