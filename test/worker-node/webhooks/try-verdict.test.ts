import { expect, test } from "vitest";
import { SealError } from "../../../shared/security/seal.ts";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { judgeResponse, judgeFailure } from "../../../worker-node/webhooks/try-verdict.ts";

const middle = () => 0.5;
const outcomeOf = (status: number) => judgeResponse({ status, headers: {} }, 0, middle).outcome;

// Fails when the verdict of a status changes.
test("2xx delivers; 404, 408, 429 and 5xx are tried again; every other status rejects the delivery", () => {
  for (const status of [200, 201, 202, 204, 299])
    expect([status, outcomeOf(status)]).toEqual([status, "delivered"]);
  for (const status of [404, 408, 429, 500, 502, 503, 599])
    expect([status, outcomeOf(status)]).toEqual([status, null]);
  for (const status of [300, 301, 302, 307, 308, 400, 401, 410, 422])
    expect([status, outcomeOf(status)]).toEqual([status, "rejected"]);
  expect(judgeResponse({ status: 302, headers: {} }, 0, middle).error).toBe(
    "the receiver answered HTTP 302: redirects are not followed",
  );
});

// Fails when 404 is final at once, or is tried for 24 hours like an error of the receiver.
test("a receiver that answers 404 is tried for about ten minutes, and then rejects the delivery", () => {
  let waitedMs = 0;
  let failures = 0;
  for (;;) {
    const verdict = judgeResponse({ status: 404, headers: {} }, failures, middle);
    if (verdict.outcome !== null) break;
    waitedMs += verdict.retry_ms;
    failures += 1;
  }
  expect(judgeResponse({ status: 404, headers: {} }, failures, middle).outcome).toBe("rejected");
  expect(waitedMs / 60_000).toBeGreaterThan(7);
  expect(waitedMs / 60_000).toBeLessThan(12);
});

test("the wait before the next try doubles up to an hour, plus or minus a quarter", () => {
  const waits = [0, 1, 2, 5, 10, 11, 40].map(
    (failures) => judgeResponse({ status: 500, headers: {} }, failures, middle).retry_ms,
  );
  expect(waits).toEqual([2_000, 4_000, 8_000, 64_000, 2_048_000, 3_600_000, 3_600_000]);
  const spread = [0, 1].map(
    (random) => judgeResponse({ status: 500, headers: {} }, 2, () => random).retry_ms,
  );
  expect(spread).toEqual([6_000, 10_000]);
});

// Fails when Retry-After is ignored, or shortens a wait.
test("Retry-After makes a wait longer, and never shorter", () => {
  const waitOf = (retryAfter: string) =>
    judgeResponse({ status: 429, headers: { "retry-after": retryAfter } }, 3, middle).retry_ms;
  expect([waitOf("120"), waitOf("1"), waitOf("soon")]).toEqual([120_000, 16_000, 16_000]);
});

// Fails when the wait has no limit: Postgres cannot add 3 million years to a time.
test("Retry-After makes no wait longer than a day", () => {
  for (const retryAfter of ["99999999999999", "1e400", "Tue, 01 Jan 2999 00:00:00 GMT"]) {
    const { retry_ms } = judgeResponse({ status: 503, headers: { "retry-after": retryAfter } }, 0, middle);
    expect([retryAfter, retry_ms]).toEqual([retryAfter, 86_400_000]);
  }
});

test("the error of a try without a response names its cause: the limit, the connection or the egress guard", () => {
  const cause = Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
  const unreachable = new RetryableError("unreachable", "h:1 cannot be reached (ECONNREFUSED)", { cause });
  expect(judgeFailure(new RetryableError("webhook_timeout", "h did not answer"), 0, middle)).toEqual({
    outcome: null,
    retry_ms: 2_000,
    status: null,
    error: "webhook_timeout: no answer within 10 s",
  });
  expect(judgeFailure(unreachable, 0, middle)).toMatchObject({
    outcome: null,
    error: "webhook_unreachable: h:1 cannot be reached (ECONNREFUSED)",
  });
  expect(judgeFailure(new TerminalError("egress_blocked", "h is not public"), 0, middle)).toMatchObject({
    outcome: "rejected",
    error: "egress_blocked: h is not public",
  });
});

// Fails when a wrong MASTER_KEY counts as a failure of every receiver, whose endpoints it would disable.
test("a secret that cannot be opened fails the try, and says nothing about the receiver", () => {
  expect(judgeFailure(new SealError("sealed under another key"), 0, middle)).toEqual({
    outcome: null,
    retry_ms: 2_000,
    status: null,
    error: "sealed under another key",
    sender_failed: true,
  });
  expect(judgeFailure(new RetryableError("unreachable", "h"), 0, middle)).not.toHaveProperty("sender_failed");
});
