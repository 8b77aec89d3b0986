/** The contract of each step type: what docs/steps.md says, executed, and executed again from every point of its journal. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { projectFolder } from "../../../local/processes/programs.ts";
import { createSandbox } from "../../../worker-node/engine/sandbox.ts";
import { documentOf } from "./document.ts";
import { committedCalls, runCase } from "./run-case.ts";
import { contracts } from "./table.ts";

const sandbox = createSandbox();
afterAll(() => sandbox.close());
// Half of the cases fail on purpose, and a run that fails is logged.
beforeEach(() => void vi.spyOn(console, "error").mockImplementation(() => {}));
afterEach(() => void vi.restoreAllMocks());

const all = Object.entries(contracts).flatMap(([type, { cases }]) =>
  cases.map((stepCase) => ({ type, ...stepCase })),
);

describe("a step of type", () => {
  test.each(all)("$type $that", async (stepCase) => {
    const { state, error, events, calls, prompts, checkpoints } = await runCase(stepCase, sandbox);
    expect({ state, error }).toEqual({ state: stepCase.gives.state, error: stepCase.gives.error ?? null });
    if (stepCase.gives.events) expect(events).toEqual(stepCase.gives.events);
    if (stepCase.gives.checkpoints) expect(checkpoints).toBe(stepCase.gives.checkpoints);
    expect(prompts).toMatchObject(stepCase.gives.prompts ?? {});
    if (stepCase.gives.calls) expect(calls).toEqual(stepCase.gives.calls);
  });

  // Fails when a committed call is made again, or when the fold of the journal loses a part of the run.
  test.each(all)("$type has the same result after a crash at any entry: $that", async (stepCase) => {
    const whole = await runCase(stepCase, sandbox);
    for (let n = 1; n < whole.journal.length; n++) {
      const before = whole.journal.slice(0, n);
      const after = await runCase(stepCase, sandbox, before);
      expect({ state: after.state, error: after.error }, `after entry ${n}`).toEqual({
        state: whole.state,
        error: whole.error,
      });
      expect(whole.prompts, `after entry ${n}`).toMatchObject(after.prompts);
      const committed = committedCalls(before, whole.calls);
      expect(
        after.calls.filter((call) => committed.includes(call)),
        `after entry ${n}`,
      ).toEqual([]);
      expect(new Set([...committed, ...after.calls]), `after entry ${n}`).toEqual(new Set(whole.calls));
    }
  });
});

// Fails when docs/steps.md says something else than what is executed here. `npm run docs:steps` writes it.
test("docs/steps.md is what these cases say", () => {
  expect(readFileSync(join(projectFolder, "docs/steps.md"), "utf8")).toBe(documentOf(contracts));
});
