import { expect, test } from "vitest";
import { RunId } from "../../../shared/contracts/ids.ts";
import { readLive, xaddArgs } from "../../../shared/events/live.ts";
import { Viewer } from "../../../edge/streaming/viewer.ts";

const run = RunId.parse("run_2483e1773407_1780499750067");
const entryOf = (bytes: number) => ({ run, seq: 3, events_n: 3, events: "x".repeat(bytes), last: true });
const keptFor = (bytes: number) => Number(xaddArgs("k", entryOf(bytes))[3]);

// Fails when a stream is bounded by the number of its entries alone.
test("a live stream keeps fewer entries the larger they are: about 16 MiB", () => {
  expect(keptFor(400)).toBe(10_000);
  expect(keptFor(32 * 1024)).toBe(512);
  for (const bytes of [2_000, 10_000, 60_000, 1_000_000]) {
    expect(keptFor(bytes) * Math.min(bytes, 64 * 1024)).toBeLessThan(17 * 1024 * 1024);
  }
  expect(Number(xaddArgs("k", { ...entryOf(0), events: "ä".repeat(16_000) })[3])).toBe(525);
});

// Fails when an entry of any size is published whole, or when viewers get no notice of it.
test("an entry over 64 KiB is published without its events, and its viewers read it from the journal", () => {
  const live = readLive(xaddArgs("k", entryOf(65 * 1024)).slice(5));
  if (!live) throw new Error("the entry cannot be read");
  expect(live).toMatchObject({ events: "", last: true });
  const [behind, upToDate] = [new Viewer(run, 0), new Viewer(run, 3)];
  for (const viewer of [behind, upToDate]) viewer.caughtUp({ event_seq: viewer.next - 1, status: "running" });
  expect([behind.receive(live), behind.mode, behind.next]).toEqual([null, "reading", 1]);
  expect([upToDate.receive(live), upToDate.mode]).toEqual([null, "live"]);
});
