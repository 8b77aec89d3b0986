import { describe, expect, test } from "vitest";
import { parseScript, nodesOf } from "../../../shared/contracts/definition/code-nodes.ts";
import { pythonIdioms } from "../../../shared/contracts/definition/python-idioms.ts";
import { pythonCalls, pythonHint } from "../../../shared/contracts/definition/python.ts";
import { cpuMs } from "../../services/cpu-time.ts";

describe("a program that is no JavaScript", () => {
  test.each([
    "def total(items):\n    return sum(items)\nresult = total(state['items'])",
    "result = [item['name'] for item in state['items']]",
    "import json\nresult = json.loads(state['text'])",
    "from datetime import date\nresult = date.today()",
    "if state['n'] > 1:\n    result = 1\nelse:\n    result = 2",
    "# the sum\nresult = 1",
    "result = f'{x}'",
    "result = sorted(state['items'], key=lambda item: item['n'])",
    "result = not state['done']",
    "try:\n    result = 1\nexcept ValueError:\n    result = 2",
  ])("and looks like Python gets a hint: %j", (program) => {
    expect(pythonHint(program)).toContain("write JavaScript");
  });

  test.each([
    "result = ;",
    "for (const x of y) { result += }",
    "if (a) { b: c } else d(",
    "const f = (x) => x +",
    "import x from 'y'",
    "label: for (const key in state) { result = key ",
  ])("and looks like a mistake in JavaScript gets none: %j", (program) => {
    expect(pythonHint(program)).toBe("");
  });

  // Fails when a pattern reads a part of the text again for each place at which it could begin.
  test("is checked in linear time", () => {
    const before = cpuMs();
    for (const part of [
      "(",
      "\n",
      "def ",
      "def a\n",
      "for ",
      "for a ,",
      "import ",
      "if (",
      "from a.",
      "# ",
    ]) {
      pythonHint(part.repeat(Math.floor(65_536 / part.length)));
    }
    for (const start of ["for", "for a", "from a", "import a"]) pythonHint(start + " ".repeat(65_000));
    expect(cpuMs() - before).toBeLessThan(2_000);
  });
});

test.each([
  ["result = state.name.title()", ["title() is a method of Python: write a function of your own"]],
  [
    "result = state.name.strip().upper().startswith('A') && state.name.isdigit() && state.name.count('a')",
    [],
  ],
  ["const list = []; list.append(1); result = list", ["append() is a method of Python: write push(value)"]],
  ['result = ", ".join(state.items)', ["texts have no join(), as in Python: write list.join(text)"]],
  ["result = state.items.join(', ')", []],
  ["const o = { items() { return [] } }; result = o.items()", []],
  ["result = state.items.length", []],
])("calls that only Python has are found in %s", (program, messages) => {
  expect(pythonCalls(nodesOf(parseScript(program))).map(({ message }) => message)).toEqual(messages);
});

test.each([
  ["result = state.list[-1]", ["write list.at(-1)"]],
  ["result = state.list + [3] + state.more", ["write [...one, ...other]"]],
  ["result = state.text.split()", ["write trim().split(/\\s+/)"]],
  ["result = str(state.flag) == 'true'", ['str() makes "True" of true, and "true" of the text "true" alone']],
  ["result = 'null' !== str(state.flag)", ['str() makes "None" of null']],
  ["result = String(state.flag) === 'False'", ['String() makes "false" of false']],
  [
    "result = str(state.n) == 'True' || String(state.n) == 'true' || str(state.n) == '3' || state.n == 'true'",
    [],
  ],
  ["const str = (one) => String(one).trim(); result = str(state.flag) == 'true'", []],
  [
    "result = state.text.replace('a', 'b')",
    ["the first one alone, and Python's all of them: write replaceAll"],
  ],
  ["result = state.text.replace(/a/, 'b').replaceAll('c', 'd')", []],
  ["result = [state.list[state.n - 1], state.map['-1'], 1 + 2, state.text.split(' '), split()]", []],
])("forms that have another value in Python are found in %s", (program, messages) => {
  const found = pythonIdioms(nodesOf(parseScript(program)));
  expect(found.map(({ message }) => message)).toEqual(messages.map((text) => expect.stringContaining(text)));
});
