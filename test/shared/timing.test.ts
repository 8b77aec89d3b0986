import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import * as timing from "../../shared/timing.ts";
import * as long from "../services/timing/long.ts";
import * as short from "../services/timing/short.ts";

type Durations = Record<keyof typeof timing, number>;
type Row = [shorter: Record<string, number>, longer: Record<string, number>, because: string];

/** Each row: the sum of the durations on the left is less than the one on the right, and why it has to be. */
const lessThan = ({
  ACCEPT_MS,
  BEAT_PERIOD_MS,
  CLAIM_DEADLINE_MS,
  QUOTA_READY_AFTER_MS,
  LATE_COMMIT_MS,
  LEASE_MS,
  LIVE_BLOCK_MS,
  LIVE_DEAD_MS,
  LOCK_TIMEOUT_MS,
  OFFLINE_AFTER_MS,
  POSTGRES_CONNECT_MS,
  POSTGRES_READ_MS,
  POSTGRES_SILENT_MS,
  RECONCILER_LOCK_MS,
  RECONCILER_PERIOD_MS,
  REDIS_REQUEST_MS,
  RESERVATION_MS,
  SCAN_DELAY_MS,
  SCAN_OVERLAP_MS,
  SILENT_AFTER_MS,
  STALL_OBSERVATION_MS,
  STATEMENT_TIMEOUT_MS,
  STATE_REQUEST_MS,
  TAKEOVER_MS,
  VIEWER_AWAY_CHECK_MS,
  VIEWER_CHECK_MS,
  WEBHOOK_LEASE_MS,
  WEBHOOK_REQUEST_MS,
  WEBHOOK_PASS_MS,
}: Durations): Row[] => [
  [
    { "2 * BEAT_PERIOD_MS": 2 * BEAT_PERIOD_MS },
    { SILENT_AFTER_MS },
    "one lost beat does not make an owner silent",
  ],
  [{ SILENT_AFTER_MS }, { LEASE_MS }, "a lease lapses by itself only when its owner is already silent"],
  [{ "2 * BEAT_PERIOD_MS": 2 * BEAT_PERIOD_MS }, { LEASE_MS }, "one failed renewal does not end a lease"],
  [{ SILENT_AFTER_MS }, { OFFLINE_AFTER_MS }, "a worker is silent before it is offline"],
  [{ TAKEOVER_MS }, { CLAIM_DEADLINE_MS }, "a takeover comes before a run counts as stuck"],
  [{ LOCK_TIMEOUT_MS }, { STATEMENT_TIMEOUT_MS }, "a statement that waits for a lock reports the lock"],
  [
    { STATEMENT_TIMEOUT_MS },
    { LATE_COMMIT_MS },
    "a statement is over before its rows count as never committed",
  ],
  [
    { LATE_COMMIT_MS },
    { QUOTA_READY_AFTER_MS },
    "runs accepted without the index are committed before it counts",
  ],
  [{ LATE_COMMIT_MS }, { SCAN_OVERLAP_MS }, "a scan that begins again meets rows that appeared late"],
  [
    { QUOTA_READY_AFTER_MS },
    { SCAN_OVERLAP_MS },
    "the scan that makes an index count has overlapped the first one",
  ],
  [{ REDIS_REQUEST_MS }, { SCAN_DELAY_MS }, "a run's own enqueue is over before a scan enqueues it"],
  [{ STATEMENT_TIMEOUT_MS }, { POSTGRES_READ_MS }, "Postgres ends a statement before its reader gives up"],
  [{ STATEMENT_TIMEOUT_MS, POSTGRES_CONNECT_MS }, { POSTGRES_SILENT_MS }, "a slow statement keeps its pool"],
  [{ STATEMENT_TIMEOUT_MS, POSTGRES_CONNECT_MS }, { STATE_REQUEST_MS }, "the edge reports an error first"],
  [
    { REDIS_REQUEST_MS, ACCEPT_MS, STATEMENT_TIMEOUT_MS },
    { RESERVATION_MS },
    "an admitted run is committed, or never will be, before its reservation lapses",
  ],
  [
    { "2 * RECONCILER_PERIOD_MS": 2 * RECONCILER_PERIOD_MS },
    { RECONCILER_LOCK_MS },
    "one failed pass keeps the lock",
  ],
  [{ SILENT_AFTER_MS, LEASE_MS }, { STALL_OBSERVATION_MS }, "a takeover comes before a reclaim"],
  [{ LIVE_BLOCK_MS }, { LIVE_DEAD_MS }, "XREAD has answered before its connection counts as dead"],
  [
    { VIEWER_AWAY_CHECK_MS },
    { VIEWER_CHECK_MS },
    "viewers are checked more often while no live entries come",
  ],
  [{ WEBHOOK_REQUEST_MS }, { WEBHOOK_LEASE_MS }, "a request ends before another sender may repeat it"],
  [{ WEBHOOK_PASS_MS }, { WEBHOOK_LEASE_MS }, "a pass finds a delivery soon after its lease has lapsed"],
];

/** Each row: the sum of the durations on the left is at most the one on the right. */
const atMost = ({
  BEAT_PERIOD_MS,
  FRESH_CONFIRMATION_MS,
  LEASE_MS,
  RECLAIM_MS,
  RECONCILER_PERIOD_MS,
  RESTORED_LEASE_MS,
  SILENT_AFTER_MS,
  STALL_OBSERVATION_MS,
  TAKEOVER_MS,
}: Durations): Row[] => [
  [
    { FRESH_CONFIRMATION_MS },
    { SILENT_AFTER_MS },
    "a worker that may have been superseded beats before it calls the outside",
  ],
  [{ BEAT_PERIOD_MS }, { RESTORED_LEASE_MS }, "the owner of a restored lease renews it before it lapses"],
  [{ LEASE_MS, BEAT_PERIOD_MS }, { TAKEOVER_MS }, "a lease lapses, then a worker claims"],
  [
    { STALL_OBSERVATION_MS, RECONCILER_PERIOD_MS },
    { RECLAIM_MS },
    "a stall is observed, then a pass reclaims",
  ],
];

const names = (durations: Record<string, number>) => Object.keys(durations).join(" + ");
const sum = (durations: Record<string, number>) => Object.values(durations).reduce((a, b) => a + b, 0);

describe.each<[string, Durations]>([
  ["of the product", timing],
  ["of tests with short leases", short],
  ["of tests with long periods", long],
])("the durations %s that depend on each other", (_, durations) => {
  for (const [shorter, longer, because] of lessThan(durations)) {
    test(`${names(shorter)} < ${names(longer)}: ${because}`, () => {
      expect(sum(shorter)).toBeLessThan(sum(longer));
    });
  }

  for (const [shorter, longer, because] of atMost(durations)) {
    test(`${names(shorter)} ≤ ${names(longer)}: ${because}`, () => {
      expect(sum(shorter)).toBeLessThanOrEqual(sum(longer));
    });
  }
});

describe("literals outside of TypeScript", () => {
  const read = (path: string) => readFile(new URL(`../../${path}`, import.meta.url), "utf8");

  test("the queue index is quota ready after QUOTA_READY_AFTER_MS", async () => {
    const literals = (await read("shared/queue/index.lua")).matchAll(
      /^local QUOTA_READY_AFTER_MS = (\d+)$/gm,
    );
    expect(Array.from(literals, ([, ms]) => Number(ms))).toEqual([timing.QUOTA_READY_AFTER_MS]);
  });

  test("a direct claim takes over after SILENT_AFTER_MS", async () => {
    const migration = await read("migrations/0002_recovery.sql");
    const literals = migration.matchAll(/beat_at.* now\(\) - interval '(\d+) seconds'/g);
    expect(Array.from(literals, ([, seconds]) => Number(seconds) * 1_000)).toEqual([
      timing.SILENT_AFTER_MS,
      timing.SILENT_AFTER_MS,
    ]);
  });
});
