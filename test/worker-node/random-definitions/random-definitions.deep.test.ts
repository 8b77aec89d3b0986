import { afterAll, beforeAll, test, vi } from "vitest";
import { createSandbox } from "../../../worker-node/engine/sandbox.ts";
import { checkDefinitions } from "./check-definitions.ts";

const sandbox = createSandbox();
// Steps and runs fail on purpose, and both are logged.
beforeAll(() => void vi.spyOn(console, "error").mockImplementation(() => {}));
afterAll(async () => {
  vi.restoreAllMocks();
  await sandbox.close();
});

// Fails when a fault changes the outcome of a run, repeats a committed call, starts a child twice, or leaves a run without an end.
test("any of 300 valid definitions has under any faults the outcome that it has without them", async () => {
  await checkDefinitions(300, sandbox);
}, 900_000);
