import { expect, test } from "vitest";
import { LoginTimes } from "../../../edge/clients/login-times.ts";
import { POSTGRES_CONNECT_MS } from "../../../shared/timing.ts";

function after(...tookMs: number[]): LoginTimes {
  const times = new LoginTimes();
  for (const each of tookMs) times.add(each);
  return times;
}

test("the first login has the whole time for a connection: an edge that starts on a busy machine does not call its database away", () => {
  expect(after().limitMs(400)).toBe(POSTGRES_CONNECT_MS);
});

test("after quick logins the next one has the least time, so that an outage is noticed at once", () => {
  expect(after(20, 35).limitMs(400)).toBe(400);
});

// Fails when the limit is a fixed time: a database 150 ms away completes no login within 850 ms.
test("after slow logins the next one has twice as long, and never more than the time for a connection", () => {
  expect(after(20, 300).limitMs(400)).toBe(600);
  expect(after(1_700).limitMs(850)).toBe(POSTGRES_CONNECT_MS);
});

test("a slow login counts until eight others have followed", () => {
  const quick = Array.from({ length: 7 }, () => 20);
  expect(after(300, ...quick).limitMs(400)).toBe(600);
  expect(after(300, ...quick, 20).limitMs(400)).toBe(400);
});
