import { expect, test } from "vitest";
import { parseNewOrchestration, unreadWarnings } from "../../../shared/contracts/definition/index.ts";

const parse = (fields: object) =>
  parseNewOrchestration({
    id: "o",
    name: "O",
    entry_step_id: "a",
    steps: [{ id: "a", type: "wait", ...fields }],
  });
const errorOf = (fields: object) => {
  const parsed = parse(fields);
  return parsed.ok ? null : parsed.errors.map(({ path, message }) => `${path}: ${message}`).join("; ");
};

// Fails when a time that no run could use is found only by the run.
test.each([
  [{}, /^steps\[0\]\.wait_seconds: is required, or wait_until/],
  [{ wait_seconds: 5, wait_until: "2026-06-04T09:15:30Z" }, /not both/],
  [{ wait_seconds: -1 }, /^steps\[0\]\.wait_seconds: /],
  [{ wait_seconds: 31_536_001 }, /^steps\[0\]\.wait_seconds: /],
  [{ wait_seconds: "5 minutes" }, /^steps\[0\]\.wait_seconds: must be a number of seconds/],
  [{ wait_until: "tomorrow" }, /^steps\[0\]\.wait_until: must be a time as RFC 3339/],
  [{ wait_until: "{state.at}" }, /^steps\[0\]\.wait_until: \{state\.at\} is never set/],
])("a wait step with %j is refused: %s", (fields, message) => expect(errorOf(fields)).toMatch(message));

test.each([
  { wait_seconds: 0 },
  { wait_seconds: 31_536_000 },
  { wait_seconds: "90" },
  { wait_seconds: "{input}" },
  { wait_until: "2026-06-04T09:15:30.5+02:00" },
  { wait_until: "{input}T00:00:00Z", wait_seconds: null },
])("a wait step with %j is saved", (fields) => expect(errorOf(fields)).toBeNull());

test("an output_key of a wait step is a warning: it is never set", () => {
  const parsed = parse({ wait_seconds: 1, output_key: "k" });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  expect(unreadWarnings(parsed.definition)).toMatchObject([{ path: "steps[0].output_key" }]);
});
