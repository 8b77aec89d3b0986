import { expect, test } from "vitest";
import { RetryableError, TerminalError } from "../../../worker-node/engine/errors.ts";
import { judgeAnswer, judgeFailure } from "../../../worker-node/webhooks/verdict.ts";

const middle = () => 0.5;
const outcomeOf = (status: number) => judgeAnswer({ status, headers: {} }, 0, middle).outcome;

// Red when: a status changes sides.
test("2xx is taken; 408, 429 and 5xx are tried again; all other answers end a delivery", () => {
  for (const status of [200, 201, 202, 204, 299])
    expect([status, outcomeOf(status)]).toEqual([status, "delivered"]);
  for (const status of [408, 429, 500, 502, 503, 599])
    expect([status, outcomeOf(status)]).toEqual([status, null]);
  for (const status of [300, 301, 302, 307, 308, 400, 401, 404, 410, 422])
    expect([status, outcomeOf(status)]).toEqual([status, "rejected"]);
  expect(judgeAnswer({ status: 302, headers: {} }, 0, middle).error).toBe(
    "the receiver answered HTTP 302: redirects are not followed",
  );
});

test("waits double up to an hour, a quarter more or less", () => {
  const waits = [0, 1, 2, 5, 10, 11, 40].map(
    (failures) => judgeAnswer({ status: 500, headers: {} }, failures, middle).retry_ms,
  );
  expect(waits).toEqual([2_000, 4_000, 8_000, 64_000, 2_048_000, 3_600_000, 3_600_000]);
  const spread = [0, 1].map((random) => judgeAnswer({ status: 500, headers: {} }, 2, () => random).retry_ms);
  expect(spread).toEqual([6_000, 10_000]);
});

// Red when: Retry-After is not read, or makes a wait shorter.
test("a receiver may ask for a longer wait, and not for a shorter", () => {
  const waitOf = (after: string) =>
    judgeAnswer({ status: 429, headers: { "retry-after": after } }, 3, middle).retry_ms;
  expect([waitOf("120"), waitOf("1"), waitOf("soon")]).toEqual([120_000, 16_000, 16_000]);
});

// Red when: its wait is taken as it is: one of 3 million years is none that Postgres can add to a time.
test("a receiver may not ask for a wait that is longer than a day", () => {
  for (const after of ["99999999999999", "1e400", "Tue, 01 Jan 2999 00:00:00 GMT"]) {
    const { retry_ms } = judgeAnswer({ status: 503, headers: { "retry-after": after } }, 0, middle);
    expect([after, retry_ms]).toEqual([after, 86_400_000]);
  }
});

test("what was not answered is told by name: a limit, a connection, a guard", () => {
  const cause = Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
  const unreachable = new RetryableError("unreachable", "h:1 cannot be reached, or broke off", { cause });
  expect(judgeFailure(new RetryableError("webhook_timeout", "h did not answer"), 0, middle)).toEqual({
    outcome: null,
    retry_ms: 2_000,
    status: null,
    error: "webhook_timeout: no answer within 10 s",
  });
  expect(judgeFailure(unreachable, 0, middle)).toMatchObject({
    outcome: null,
    error: "webhook_unreachable: h:1 cannot be reached, or broke off (ECONNREFUSED)",
  });
  expect(judgeFailure(new TerminalError("egress_blocked", "h is not public"), 0, middle)).toMatchObject({
    outcome: "rejected",
    error: "egress_blocked: h is not public",
  });
});
