import { expect, test } from "vitest";
import { stateKeysReachedBy } from "../../../shared/contracts/definition/state-keys.ts";

test.each<[string, string[]]>([
  ["1 == 1", []],
  ["state.a > 1 && state['b'] === state?.c", ["a", "b", "c"]],
  ["state.get('a', 0) + state.get(\"b\").length", ["a", "b"]],
  ["state.a.state2.b[0].c", ["a"]],
  ["result = (() => { const { x } = state.a; return x })(); state.b = 1", ["a", "b"]],
  ["result = `${state.a} and state`", ["a"]],
])("%s reaches these keys of state alone: %j", (script, keys) => {
  expect([...(stateKeysReachedBy(script) ?? ["any"])].toSorted()).toEqual(keys);
});

test.each([
  "result = state",
  "result = JSON.stringify(state)",
  "const { a } = state; result = a",
  "result = state[`a`]",
  "result = state[key]",
  "'a' in state",
  "with (state) { result = a }",
  "result = state.get(name)",
  "result = state.get",
  "result = state.get(...['a'])",
  "result = state.hasOwnProperty('a')",
  "result = state.a + state.__proto__.b",
  "result = this.state.a",
  "result = eval('st' + 'ate').a",
  "result = globalThis['st' + 'ate']",
  "result = (() => 1).constructor('return st' + 'ate')()",
  "result = st\\u0061te",
  "result = [state].length",
  "result = ({ state }).state.b",
  "result = state.a +",
  "const { a = state } = {}; result = a",
])("%s may reach any key of state", (script) => {
  expect(stateKeysReachedBy(script)).toBeNull();
});
