import { describe, expect, test } from "vitest";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { failureOf, judge } from "../../../worker-node/engine/retry-policy.ts";

const policy = { attempts: 3, base_seconds: 1, max_seconds: 60 };
const half = { random: () => 0.5, leftMs: 3_600_000 };

describe("a failed step", () => {
  test("is retried after half of a wait that doubles, until its tries are used up", () => {
    const error = new RetryableError("x", "x");
    expect(judge(error, 1, policy, half)).toEqual({ do: "retry", afterMs: 500 });
    expect(judge(error, 2, policy, half)).toEqual({ do: "retry", afterMs: 1_000 });
    expect(judge(error, 3, policy, half)).toEqual({ do: "fail" });
  });

  test("waits no longer than max_seconds", () => {
    expect(judge(new Error("x"), 9, { ...policy, attempts: 10 }, half)).toEqual({
      do: "retry",
      afterMs: 30_000,
    });
  });

  test("fails at once on a TerminalError", () => {
    expect(judge(new TerminalError("x", "x"), 1, policy, half)).toEqual({ do: "fail" });
  });

  test("waits at least as long as the other side demands, and fails at once when the run has less time left", () => {
    const demands = (retryAfterMs: number) => new RetryableError("x", "x", { retryAfterMs });
    expect(judge(demands(90_000), 1, policy, half)).toEqual({ do: "retry", afterMs: 90_000 });
    expect(judge(demands(10), 1, policy, half)).toEqual({ do: "retry", afterMs: 500 });
    expect(judge(demands(3_500_000), 1, policy, half)).toEqual({ do: "retry", afterMs: 3_500_000 });
    expect(judge(demands(86_400_000), 1, policy, half)).toEqual({ do: "fail" });
  });
});

test("clients do not see the message of an internal error", () => {
  expect(failureOf(new TerminalError("no_json", "there is none"))).toEqual({
    code: "no_json",
    message: "there is none",
  });
  const hidden = failureOf(new Error("password=secret"));
  expect(hidden.code).toBe("internal");
  expect(hidden.message).not.toContain("secret");
});
