import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { QueueLinks, nextLink } from "../../../worker-node/fleet/queue-links.ts";
import type { LinkEvent, QueueLink } from "../../../worker-node/fleet/queue-links.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";

const DIRECT_AFTER_MS = 5_000;
const START_MS = 1_000;
const up: QueueLink = { is: "up" };
const since = (is: "unknown" | "syncing" | "down" | "direct", sinceMs = START_MS): QueueLink => ({
  is,
  sinceMs,
});
const next = (link: QueueLink, event: LinkEvent, nowMs: number) =>
  nextLink(link, event, nowMs, DIRECT_AFTER_MS);

describe("a queue link", () => {
  // Fails when a transition is missing, or when an event other than the failure of an `up` link moves `sinceMs`.
  test.each<[QueueLink, LinkEvent, number, QueueLink]>([
    [since("unknown"), "answered", 1_100, since("syncing")],
    [since("unknown"), "failed", 1_100, since("down")],
    [since("unknown"), "failed", 6_000, since("direct")],
    [since("syncing"), "claimed", 1_200, up],
    [since("syncing"), "answered", 1_200, since("syncing")],
    [since("syncing"), "failed", 1_200, since("down")],
    [since("syncing"), "failed", 6_000, since("direct")],
    [up, "claimed", 2_000, up],
    [up, "answered", 2_000, up],
    [up, "failed", 2_000, since("down", 2_000)],
    [since("down"), "failed", 5_999, since("down")],
    [since("down"), "failed", 6_000, since("direct")],
    [since("down"), "answered", 7_000, since("syncing")],
    [since("direct"), "failed", 60_000, since("direct")],
    [since("direct"), "answered", 60_000, since("syncing")],
    // A renewal that fails during the synchronization does not hold up the claim that follows it.
    [since("down"), "claimed", 1_300, up],
  ])("%j, %s at %d ms, becomes %j", (link, event, nowMs, expected) => {
    expect(next(link, event, nowMs)).toEqual(expected);
  });

  // Fails when a synchronization that fails starts the 5 s anew: a queue that answers and fails in turn would never be bypassed.
  test("that answers but never completes a claim is bypassed 5 s after its first failure", () => {
    let link: QueueLink = up;
    let nowMs = 0;
    const states = [];
    for (; nowMs <= 6_000; nowMs += 500) {
      link = next(next(link, "answered", nowMs), "failed", nowMs);
      states.push(link.is);
    }
    expect(states).toEqual([...Array.from({ length: 10 }, () => "down"), "direct", "direct", "direct"]);
  });
});

describe("the links of a worker with two shards", () => {
  let links: QueueLinks;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["performance"] });
    links = new QueueLinks(2, workerTiming);
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test("are not up before every shard has answered a claim", () => {
    expect([links.allUp, links.redisOk]).toEqual([false, false]);
    links.reportClaimed(0);
    expect(links.allUp).toBe(false);
    links.reportClaimed(1);
    expect([links.allUp, links.redisOk]).toEqual([true, true]);
  });

  // Fails when an announcement has no end, or when a failure does not withdraw it: no worker would claim directly then.
  test("report the queue as reachable for 10 s after an announcement, unless a call fails", () => {
    links.reportAnnounced();
    expect(links.redisOk).toBe(true);
    vi.advanceTimersByTime(9_999);
    expect(links.redisOk).toBe(true);
    vi.advanceTimersByTime(1);
    expect(links.redisOk).toBe(false);
    links.reportAnnounced();
    links.reportFailed(1);
    expect(links.redisOk).toBe(false);
  });

  test("keep one shard up while another is bypassed", () => {
    links.reportClaimed(0);
    links.reportFailed(1);
    vi.advanceTimersByTime(5_000);
    links.reportFailed(1);
    expect([links.of(0), links.of(1)]).toEqual(["up", "direct"]);
  });

  test("pass a cold shard on to every listener, and keep its state", () => {
    const shards: number[] = [];
    links.onCold((shard) => shards.push(shard));
    links.onCold((shard) => shards.push(shard));
    links.reportClaimed(1);
    links.reportCold(1);
    expect(shards).toEqual([1, 1]);
    expect(links.of(1)).toBe("up");
  });

  test("defer the repairs of the queue for the time that the reconciler asks for", () => {
    expect(links.areRepairsDeferred).toBe(false);
    links.deferRepairs(2_500);
    vi.advanceTimersByTime(2_499);
    expect(links.areRepairsDeferred).toBe(true);
    vi.advanceTimersByTime(1);
    expect(links.areRepairsDeferred).toBe(false);
  });
});
