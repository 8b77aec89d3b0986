import { expect, test } from "vitest";
import { parseRetryAfterMs } from "../../../shared/http/retry-after.ts";

test.each([
  [{ "retry-after": "7" }, 7_000],
  [{ "retry-after-ms": "1500", "retry-after": "7" }, 1_500],
  [{ "retry-after": "Thu, 01 Jan 1970 00:00:30 GMT" }, 20_000],
  [{ "retry-after": "Thu, 01 Jan 1970 00:00:01 GMT" }, 0],
  // The clock of this server is an hour ahead, and the clock of the next one says nothing.
  [{ "retry-after": "Thu, 01 Jan 1970 01:00:30 GMT", date: "Thu, 01 Jan 1970 01:00:10 GMT" }, 20_000],
  [{ "retry-after": "Thu, 01 Jan 1970 00:00:30 GMT", date: "today" }, 20_000],
  [{ "retry-after": "1000000040" }, 1_000_000_030_000],
  [{ "retry-after": "soon" }, undefined],
  [{ "retry-after": "in 5" }, undefined],
  [{}, undefined],
])("a response with the headers %j asks for a wait of %s ms", (headers, ms) => {
  expect(parseRetryAfterMs(headers, 10_000)).toBe(ms);
});
