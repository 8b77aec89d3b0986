import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import * as timing from "../../shared/timing.ts";
import * as long from "../services/timing/long.ts";
import * as short from "../services/timing/short.ts";

/** The time of a takeover beyond the lease: the claim by the next worker. */
const CLAIM_MS = 500;

/** Texts that quote durations: the numbers of each match, in seconds. */
const quoted: [path: string, pattern: RegExp, ms: number[]][] = [
  ["README.md", /takeover within ([\d.]+) s of a `kill -9`/, [timing.LEASE_MS + CLAIM_MS]],
  ["docs/architecture.md", /last committed step within ([\d.]+) s\./, [timing.LEASE_MS + CLAIM_MS]],
  [
    "docs/glossary.md",
    /every ([\d.]+) s\. A worker without one for ([\d.]+) s is \*\*silent\*\*; after ([\d.]+) s/,
    [timing.BEAT_PERIOD_MS, timing.SILENT_AFTER_MS, timing.OFFLINE_AFTER_MS],
  ],
  ["docs/protocol.md", /another worker takes over within ([\d.]+) s/, [timing.LEASE_MS + CLAIM_MS]],
  [
    "docs/protocol.md",
    /it beats every ([\d.]+) s and renews every ([\d.]+) s/,
    [timing.BEAT_PERIOD_MS, timing.RENEW_PERIOD_MS],
  ],
  ["docs/protocol.md", /`silent_after` \(([\d.]+) s\)/, [timing.SILENT_AFTER_MS]],
  ["docs/protocol.md", /becomes silent after ([\d.]+) s/, [timing.SILENT_AFTER_MS]],
  ["docs/protocol.md", /without a beat for ([\d.]+) s is `silent`/, [timing.SILENT_AFTER_MS]],
  ["docs/protocol.md", /treats no owner as silent for ([\d.]+) s/, [timing.SILENT_AFTER_MS]],
  ["docs/protocol.md", /(?:leases lapse after|leases of) ([\d.]+) s/, [timing.LEASE_MS]],
  ["docs/protocol.md", /that the beats of ([\d.]+) s name/, [timing.STRAY_AFTER_MS]],
  ["docs/protocol.md", /by its beat within ([\d.]+) s/, [timing.BEAT_PERIOD_MS]],
  ["docs/protocol.md", /`renew` in ([\d.]+) s/, [timing.RENEW_PERIOD_MS]],
  [
    "docs/protocol.md",
    /(?:confirmed for|comes more than|younger than|succeeded within|that is) (4[\d.]*) s/,
    [timing.FRESH_CONFIRMATION_MS],
  ],
  [
    "docs/protocol.md",
    /through a stop of ([\d.]+) s\*\* .*?: ([\d.]+) s \(a beat period\) \+ [\d.]+ s \+ [\d.]+ s for what a busy machine adds make the ([\d.]+) s of a silence/,
    [timing.TOLERATED_STOP_MS, timing.BEAT_PERIOD_MS, timing.SILENT_AFTER_MS],
  ],
  ["README.md", /claims the run within ([\d.]+) s/, [timing.LEASE_MS + CLAIM_MS]],
];

type Durations = Record<keyof typeof timing, number>;
type Row = [shorter: Record<string, number>, longer: Record<string, number>, because: string];

/** Each row: the sum of the durations on the left is less than the one on the right, and why it has to be. */
const lessThan = ({
  ACCEPT_MS,
  BEAT_PERIOD_MS,
  CLAIM_DEADLINE_MS,
  FRESH_CONFIRMATION_MS,
  QUOTA_READY_AFTER_MS,
  LATE_COMMIT_MS,
  LEASE_MS,
  LIVE_BLOCK_MS,
  LIVE_DEAD_MS,
  LIVE_VALUES_MS,
  LOCK_TIMEOUT_MS,
  OFFLINE_AFTER_MS,
  POSTGRES_CONNECT_MS,
  POSTGRES_READ_MS,
  POSTGRES_SILENT_MS,
  PURGE_AFTER_MS,
  RECONCILER_LOCK_MS,
  RECONCILER_PERIOD_MS,
  REDIS_REQUEST_MS,
  RENEW_PERIOD_MS,
  RESERVATION_MS,
  SCAN_DELAY_MS,
  SCAN_OVERLAP_MS,
  SILENCE_MARGIN_MS,
  SILENT_AFTER_MS,
  STALL_OBSERVATION_MS,
  STATEMENT_TIMEOUT_MS,
  STATE_REQUEST_MS,
  STRAY_AFTER_MS,
  TAKEOVER_MS,
  TOLERATED_STOP_MS,
  VERSION_KEPT_MS,
  VIEWER_AWAY_CHECK_MS,
  VIEWER_CHECK_MS,
  WEBHOOK_LEASE_MS,
  WEBHOOK_REQUEST_MS,
  WEBHOOK_PASS_MS,
}: Durations): Row[] => [
  [
    { BEAT_PERIOD_MS, TOLERATED_STOP_MS, SILENCE_MARGIN_MS },
    { SILENT_AFTER_MS },
    "a tolerated stop just before a beat is neither a silence nor counted as one",
  ],
  [
    { "3 * BEAT_PERIOD_MS": 3 * BEAT_PERIOD_MS, SILENCE_MARGIN_MS },
    { SILENT_AFTER_MS },
    "two lost beats in a row make no silence",
  ],
  [
    { BEAT_PERIOD_MS, TOLERATED_STOP_MS },
    { FRESH_CONFIRMATION_MS },
    "a tolerated stop costs no extra beat before a call",
  ],
  [
    { FRESH_CONFIRMATION_MS },
    { SILENT_AFTER_MS },
    "a worker whose beat is late stops before its runs may be taken over",
  ],
  [{ FRESH_CONFIRMATION_MS }, { LEASE_MS }, "a worker whose renewal is late stops before its leases lapse"],
  [
    { RENEW_PERIOD_MS, TOLERATED_STOP_MS },
    { LEASE_MS },
    "a tolerated stop just before a renewal ends no lease",
  ],
  [
    { RENEW_PERIOD_MS, BEAT_PERIOD_MS },
    { SILENT_AFTER_MS },
    "the owner of a restored lease, which lasts until its silence, renews it before it lapses",
  ],
  [
    { STATEMENT_TIMEOUT_MS },
    { STRAY_AFTER_MS },
    "the reply to a claim has come before its run is handed back",
  ],
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
  [{ RESERVATION_MS }, { PURGE_AFTER_MS }, "no run of a purged tenant is committed any more"],
  [
    { VERSION_KEPT_MS, LIVE_VALUES_MS, STATE_REQUEST_MS },
    { PURGE_AFTER_MS },
    "a worker has no version of a purged tenant in memory",
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
  RENEW_PERIOD_MS,
  SILENCE_MARGIN_MS,
  SILENT_AFTER_MS,
  STALL_OBSERVATION_MS,
  TAKEOVER_MS,
}: Durations): Row[] => [
  [
    { FRESH_CONFIRMATION_MS, SILENCE_MARGIN_MS },
    { SILENT_AFTER_MS },
    "a worker sends no claim that Postgres refuses because of a silence",
  ],
  [{ SILENT_AFTER_MS }, { LEASE_MS }, "a lease lapses by itself when its owner is about to be silent, or is"],
  [{ "3 * RENEW_PERIOD_MS": 3 * RENEW_PERIOD_MS }, { LEASE_MS }, "two failed renewals do not end a lease"],
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

  // Fails when a text quotes a duration that has changed since.
  test.each<[string, RegExp, number[]]>(quoted)("%s quotes the durations: %s", async (path, pattern, ms) => {
    const text = (await read(path)).replaceAll(/\s+/g, " ");
    const found = Array.from(text.matchAll(new RegExp(pattern, "g")), ([, ...numbers]) =>
      numbers.map((seconds) => Number(seconds) * 1_000),
    );
    expect(found.length).toBeGreaterThan(0);
    for (const numbers of found) expect(numbers).toEqual(ms);
  });
});
