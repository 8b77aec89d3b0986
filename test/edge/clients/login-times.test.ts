import { expect, test } from "vitest";
import { LoginTimes } from "../../../edge/clients/login-times.ts";
import { POSTGRES_CONNECT_MS } from "../../../shared/timing.ts";

function after(...tookMs: number[]): LoginTimes {
  const times = new LoginTimes();
  for (const each of tookMs) times.add(each);
  return times;
}

test("the first login has the whole time for a connection: an edge that starts on a busy machine does not report its database as unreachable", () => {
  expect(after().limitMs(400)).toBe(POSTGRES_CONNECT_MS);
});

test("after quick logins the next one has the least time, so that an outage is noticed at once", () => {
  expect(after(20, 35).limitMs(400)).toBe(400);
});

// Fails when the limit is a fixed time: a database 150 ms away completes no login within 850 ms.
test("among slow logins the next one has four times as long, and never more than the time for a connection", () => {
  expect(after(300, 300, 320).limitMs(400)).toBe(1_200);
  expect(after(900).limitMs(850)).toBe(POSTGRES_CONNECT_MS);
});

test("one slow login among quick ones does not change the limit, and the eight latest logins decide it", () => {
  const quick = Array.from({ length: 8 }, () => 20);
  expect(after(20, 3_000).limitMs(400)).toBe(400);
  expect(after(300, 300, ...quick).limitMs(400)).toBe(400);
});
