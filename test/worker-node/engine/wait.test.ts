import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { runStep } from "../../../worker-node/engine/steps/index.ts";
import { fakeContext, step } from "./context.ts";

const NOW = Date.parse("2026-06-04T09:15:30.000Z");
beforeEach(() => void vi.spyOn(Date, "now").mockReturnValue(NOW));
afterEach(() => vi.restoreAllMocks());

const state = { seconds: 90, less: -1, at: "2026-06-04T10:15:30+01:00", later: "2026-06-05T09:15:30Z" };
const wait = (fields: object) => step({ type: "wait", input_keys: Object.keys(state), ...fields });

describe("a wait step", () => {
  test.each([
    [{ wait_seconds: 0.5 }, 500],
    [{ wait_seconds: "{state.seconds}" }, 90_000],
    [{ wait_until: "2026-06-04T09:16:00Z" }, 30_000],
    [{ wait_until: "{state.later}" }, 86_400_000],
  ])("with %j starts a timer of %s ms, and its event has the end of the timer", async (fields, timeoutMs) => {
    expect(await runStep(wait(fields), fakeContext({ state }).context)).toEqual({
      waitFor: { kind: "timer", timeoutMs },
      events: [
        {
          type: "timer_started",
          orch_step_id: "s",
          step_name: "Step",
          until: new Date(NOW + timeoutMs).toISOString(),
        },
      ],
    });
  });

  test.each([{ wait_seconds: 0 }, { wait_until: "{state.at}" }, { wait_until: "2020-01-01T00:00:00Z" }])(
    "whose time has passed goes on at once: %j",
    async (fields) => {
      const result = await runStep(wait(fields), fakeContext({ state }).context);
      expect(result).toMatchObject({ set: {}, events: [] });
    },
  );

  // Fails when a wrong time counts as no time, or as a time far away.
  test.each([
    [
      { wait_seconds: "{input}" },
      'wait_seconds is "soon": it must be a number of seconds from 0 to 31536000',
    ],
    [{ wait_seconds: "{state.less}" }, /wait_seconds is "-1"/],
    [{ wait_seconds: "{state.seconds}000000" }, /wait_seconds is "90000000"/],
    [{ wait_until: "{input}" }, /wait_until is "soon": it must be a time as RFC 3339 writes it/],
    [{ wait_until: "2027-06-05T00:00:00Z" }, /within a year from now/],
  ])("with an invalid time fails, and the error quotes it: %j", async (fields, message) => {
    const { context } = fakeContext({ state, message: "soon" });
    await expect(runStep(wait(fields), context)).rejects.toMatchObject({
      code: "wait_time",
      message: expect.stringMatching(message),
    });
  });

  test("goes on when its timer is over, and reports how long it was", async () => {
    const { context } = fakeContext({ reply: { is: "expired", votes: [], openForMs: 5_000 } });
    expect(await runStep(wait({ wait_seconds: 5 }), context)).toMatchObject({ set: {}, waitedMs: 5_000 });
  });

  // Fails when a retry of the run by a client starts the whole time again.
  test("goes on with what was left of the timer that a client's retry closed", async () => {
    const { context } = fakeContext({ reply: { is: "closed", leftMs: 2_000 } });
    expect(await runStep(wait({ wait_seconds: 5 }), context)).toMatchObject({
      waitFor: { timeoutMs: 2_000 },
    });
    const passed = fakeContext({ reply: { is: "closed", leftMs: -1 } });
    expect(await runStep(wait({ wait_seconds: 5 }), passed.context)).toMatchObject({ set: {} });
  });
});
