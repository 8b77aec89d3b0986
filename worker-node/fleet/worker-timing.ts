/**
 * The lengths on which a worker's right to its runs depends, in milliseconds. Production always uses `workerTiming`: the
 * silence of 12 s is also part of SQL functions, so lengths that differ from it are for tests that do not depend on SQL.
 */
export type WorkerTiming = {
  /** Between two beats, and between two renewals of the leases. */
  beatMs: number;
  /** How long a lease in Redis lasts. Longer than the silence: it lapses only when Postgres sees the owner silent. */
  leaseMs: number;
  /** A worker without a confirmed beat or renewal for so long may have lost its runs to a takeover. */
  silentMs: number;
  /** A queue that was unreachable for so long is bypassed: runs are claimed directly from Postgres. */
  directAfterMs: number;
  /** How long an announcement counts as a reachable queue. */
  announcedMs: number;
  /** A value that did not change for so long, observed without interruption, is stalled. */
  stallMs: number;
};

export const workerTiming: WorkerTiming = {
  beatMs: 5_000,
  leaseMs: 15_000,
  silentMs: 12_000,
  directAfterMs: 5_000,
  announcedMs: 10_000,
  stallMs: 30_000,
};
