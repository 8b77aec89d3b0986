import { describe, expect, test } from "vitest";
import { retryHintMs } from "../../../worker-node/models/retry-hint.ts";

const nowMs = Date.parse("2026-11-29T12:00:00Z");
const none = { headers: {}, body: undefined, message: "", isRateLimit: true };

// Fails when a provider's spelling of the wait is not read, so that the worker guesses it.
describe("the wait of a rate limit", () => {
  test.each<[Record<string, string>, number]>([
    [{ "retry-after": "30" }, 30_000],
    [{ "retry-after": "1.5" }, 1_500],
    [{ "retry-after": "120s" }, 120_000],
    [{ "retry-after": "Sun, 29 Nov 2026 12:01:00 GMT" }, 60_000],
    [{ "retry-after-ms": "250", "retry-after": "1" }, 250],
    [{ "retry-after": "PT5S" }, 5_000],
    [{ "x-retry-after": "Sun, 29 Nov 2026 11:00:07 GMT", date: "Sun, 29 Nov 2026 11:00:00 GMT" }, 7_000],
    [{ "retry-after": "PT1M2.5S" }, 62_500],
    [{ "retry-after": "P1DT1H" }, 90_000_000],
    [{ "retry-after": "1m30s" }, 90_000],
    [{ "retry-after": "6ms" }, 6],
    [{ "retry-after": "5 seconds" }, 5_000],
    [{ "retry-after": " 7 " }, 7_000],
    [{ "retry-after": "2026-11-29T12:00:09Z" }, 9_000],
    [{ "retry-after": "Sunday, 29-Nov-26 12:01:00 GMT" }, 60_000],
    [{ "retry-after": String(nowMs / 1_000 + 8) }, 8_000],
    [{ "x-ms-retry-after-ms": "1500" }, 1_500],
    [{ "x-ratelimit-reset-after": "1.5" }, 1_500],
    [{ "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m30s" }, 90_000],
    [{ "x-ratelimit-reset-requests": "6ms" }, 6],
    [{ "x-ratelimit-reset-requests": "1h0m0.5s" }, 3_600_500],
    [{ "x-ratelimit-remaining": "0", "x-ratelimit-reset": "Sun, 29 Nov 2026 12:00:07 GMT" }, 7_000],
    [{ "retry-after-ms": "", "retry-after": "7" }, 7_000],
    [{ "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s" }, 360_000],
    [{ "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms" }, 20],
    [{ "x-ratelimit-remaining-requests-day": "0", "x-ratelimit-reset-requests-day": "33.5" }, 33_500],
    [{ "ratelimit-remaining": "0", "ratelimit-reset": "50" }, 50_000],
    [{ ratelimit: '"minute";r=0;t=30, "day";r=41;t=9000' }, 30_000],
    [{ "ratelimitbysize-remaining": "0", "ratelimitbysize-reset": "32" }, 32_000],
    [
      {
        "anthropic-ratelimit-requests-remaining": "9",
        "anthropic-ratelimit-requests-reset": "2026-11-29T13:00:00Z",
        "anthropic-ratelimit-tokens-remaining": "0",
        "anthropic-ratelimit-tokens-reset": "2026-11-29T12:00:40Z",
      },
      40_000,
    ],
    [{ "x-ratelimit-reset": String(nowMs + 3_000) }, 3_000],
    [{ "x-ratelimit-reset": String(nowMs / 1_000 + 3) }, 3_000],
  ])("is read from the headers %j", (headers, ms) => {
    expect(retryHintMs({ ...none, headers }, nowMs)).toBe(ms);
  });

  test.each([
    ["Please try again in 1m2.5s.", 62_500],
    ["Please try again in 6ms. Visit the site.", 6],
    ["Please retry in 33.213s.", 33_213],
    ["Please retry after 26 seconds.", 26_000],
    ["Try again in 1 hour 30 minutes.", 5_400_000],
    ["Retry after 1 day, 2 hours and 3 seconds", 93_603_000],
    ["Please wait 56 seconds before retrying.", 56_000],
    ["Rate limit exceeded, please wait for 2m.", 120_000],
    ["Your quota will reset after 27h41m36s.", 99_696_000],
    ["Limit resets in 45 seconds.", 45_000],
    ["Weekly limit exhausted. Resets at 2026-11-29T12:00:09Z", 9_000],
    ["Your limit will reset at 2026-11-29 12:00 UTC.", undefined],
    // Zhipu's times are Beijing's (can1357/oh-my-pi #11014).
    ["Usage limit reached for 5 hour. Your limit will reset at 2026-11-29 20:00:09", 9_000],
    ["已达到 5 小时的使用上限。您的限额将在 2026-11-29 20:00:09 重置。", 9_000],
    ["Your limit will reset at 2026-11-29 12:00:09", undefined],
    ["Your limit will reset at 2026-11-29 20:00:09 UTC+8.", 9_000],
  ])("is read from the words %j", (message, ms) => {
    expect(retryHintMs({ ...none, message }, nowMs)).toBe(ms);
  });

  test.each([
    "Please try again later.",
    "Limit 200 tokens, try again in 5 tries.",
    "",
    "wait for the 3 models",
  ])("is not found in the words %j", (message) => {
    expect(retryHintMs({ ...none, message }, nowMs)).toBeUndefined();
  });

  test.each([
    [{ error: { message: "loading", estimated_time: 20 } }, 20_000],
    [{ error: { details: [{ retryDelay: "5.5s" }] } }, 5_500],
    [{ error: { metadata: { retry_after_seconds: 3 } } }, 3_000],
    [{ retry_after: "2" }, 2_000],
    [{ error: { retry_after_ms: "700" } }, 700],
    [{ error: { retryAfterMs: 700 } }, 700],
    [{ retry_after: "PT5S" }, 5_000],
    [{ retry_after: "2026-11-29T12:00:09Z" }, 9_000],
    [{ error: { details: [{ retryDelay: { seconds: "5", nanos: 500_000_000 } }] } }, 5_500],
    [{ error: { retryDelay: "1.203608125s" } }, 1_203.608125],
    // NousResearch/hermes-agent PR 26893, router-for-me/CLIProxyAPI #1666, diegosouzapw/OmniRoute #858.
    [{ error: { type: "usage_limit_reached", resets_in_seconds: 52 } }, 52_000],
    [{ error: { resets_at: nowMs / 1_000 + 9 } }, 9_000],
    [{ error: { details: [{ metadata: { quotaResetDelay: "3h12m1.5s" } }] } }, 11_521_500],
    [{ limits: { hour: { remaining: 4, reset_at: "2026-11-29T13:00:00Z" } } }, undefined],
  ])("is read from the body %j", (body, ms) => {
    expect(retryHintMs({ ...none, body }, nowMs)).toBe(ms);
  });

  test("is not read from the reset of a limit in an error that is no rate limit", () => {
    const body = { error: { resets_in_seconds: 52 } };
    expect(retryHintMs({ ...none, body, isRateLimit: false }, nowMs)).toBeUndefined();
  });
});
