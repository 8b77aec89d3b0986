/**
 * The durations that are only correct in relation to each other. A module that uses one imports it; a literal that
 * has to stay in Lua or in a migration is compared with this file by `test/shared/timing.test.ts`, which also tests
 * every inequality below. A duration that no other one depends on stays in the file that uses it.
 *
 * Each comparison is between durations. No clock of one machine is compared with the clock of another:
 * docs/protocol.md 1.
 */

// --- A worker's signs of life: docs/protocol.md 5.3

/**
 * A worker keeps its runs through a stop of this length: of its process or its event loop, or of Postgres.
 *
 * The durations below follow from it. A shorter one would make takeovers faster, and a garbage collection or a busy
 * machine would cost a living worker its runs.
 */
export const TOLERATED_STOP_MS = 3_000;

/**
 * A worker beats in Postgres this often.
 *
 * The shorter it is, the sooner a silence is certain: each period is a part of `SILENT_AFTER_MS`. Each beat costs one small
 * commit, so a hundred workers make a hundred in a second.
 */
export const BEAT_PERIOD_MS = 1_000;

/**
 * A worker without a beat for this long is silent: its runs may be taken over. Each worker writes it into its own row, and
 * every statement reads it there, so that workers of two versions agree on when one of them is silent.
 *
 * Longer than a beat period and a tolerated stop together, by what a busy machine may add: a beat that waits for a
 * processor, for its commit, and for the statements before it.
 */
export const SILENT_AFTER_MS = BEAT_PERIOD_MS + TOLERATED_STOP_MS + 1_500;

/**
 * Postgres counts a silence when a beat comes later than `SILENT_AFTER_MS` minus this margin, and a worker whose beat is that late
 * claims nothing.
 *
 * As long as a statement takes: another worker that sees the silence may commit a moment later. Short enough that a
 * tolerated stop is not counted.
 */
export const SILENCE_MARGIN_MS = 1_000;

/**
 * A worker without a confirmed beat or renewal for this long claims nothing and calls nothing outside before it has beaten
 * again.
 *
 * Shorter than `SILENT_AFTER_MS` and `LEASE_MS`: it stops before another worker may have its runs. Longer than a beat period and a
 * tolerated stop together, so that such a stop costs no extra beat.
 */
export const FRESH_CONFIRMATION_MS = SILENT_AFTER_MS - SILENCE_MARGIN_MS;

/**
 * The length of a lease in Redis. A lapsed lease is the hint on which another worker asks Postgres for the run.
 *
 * At least `SILENT_AFTER_MS`, so that Postgres seldom has to refuse. A worker that asks too early looks again when the
 * owner becomes silent. Not longer: a run of a dead worker waits for the later of both.
 */
export const LEASE_MS = SILENT_AFTER_MS;

/**
 * A worker renews its leases this often.
 *
 * A third of a lease at most, so that two failed renewals cost nothing, and shorter than a lease by more than a tolerated
 * stop. A longer period would save calls: it is one for each shard in which the worker has runs.
 */
export const RENEW_PERIOD_MS = 1_500;

/**
 * A worker hands back a run that Postgres has named as the worker's for this long and that the worker does not execute.
 *
 * At least `STATEMENT_TIMEOUT_MS`: until then the reply to the worker's claim may be under way.
 */
export const STRAY_AFTER_MS = 6_000;

/** A worker without a beat for this long is shown as offline. Longer than `SILENT_AFTER_MS`: silent comes first. */
export const OFFLINE_AFTER_MS = 90_000;

/** A claimed run that commits no entry for this long counts as stuck. Longer than a takeover can take. */
export const CLAIM_DEADLINE_MS = 60_000;

// --- How late a row of Postgres can appear: docs/protocol.md 7.1 and 8.7

/** Postgres ends a statement after this time (a role setting that `migrate` makes). */
export const STATEMENT_TIMEOUT_MS = 5_000;

/**
 * A statement waits for a lock at most this long (also a role setting). Shorter than the whole statement may take.
 */
export const LOCK_TIMEOUT_MS = 2_000;

/**
 * A row whose time is that of its statement's start is visible after this time, or never will be.
 *
 * Longer than `STATEMENT_TIMEOUT_MS`, by what a commit takes.
 */
export const LATE_COMMIT_MS = STATEMENT_TIMEOUT_MS + 1_000;

/**
 * A queue index may count a tenant's runs after a scan that reaches this far beyond the first one.
 *
 * Longer than `LATE_COMMIT_MS`: runs that were accepted without this index are then committed, and scanned.
 * `shared/queue/index.lua` has a copy of this constant.
 */
export const QUOTA_READY_AFTER_MS = LATE_COMMIT_MS + 1_000;

/**
 * How far before its last position a scan, a push of changed limits or a resumed tenant feed begins again.
 *
 * Longer than `LATE_COMMIT_MS`, so that rows which appear late or out of order are met.
 */
export const SCAN_OVERLAP_MS = 15_000;

/**
 * A scan for due runs ends this long before now. Longer than `REDIS_REQUEST_MS`: by then the edge's own enqueue is
 * over.
 */
export const SCAN_DELAY_MS = 2_000;

/**
 * The relay waits this long for a query. Longer than `STATEMENT_TIMEOUT_MS`: Postgres cancels the statement first.
 */
export const POSTGRES_READ_MS = 6_000;

/** A connection to Postgres is made within this time. */
export const POSTGRES_CONNECT_MS = 3_000;

/**
 * A worker's pool without an answer for this long is replaced.
 *
 * Longer than `STATEMENT_TIMEOUT_MS` and `POSTGRES_CONNECT_MS` together.
 */
export const POSTGRES_SILENT_MS = 9_000;

/**
 * After a refused write has replaced the connections to a standby, no other one does for this long: a server may stay read-only for hours,
 * as with a full disk, and each replacement costs logins.
 */
export const POSTGRES_STANDBY_PAUSE_MS = 2_000;

/**
 * A worker waits this long for a statement that the edge executes on its behalf.
 *
 * Longer than `STATEMENT_TIMEOUT_MS` and `POSTGRES_CONNECT_MS` together, so that the edge reports what went wrong.
 */
export const STATE_REQUEST_MS = 10_000;

// --- Admission: docs/protocol.md 5.1

/** The edge waits this long for one request to Redis. */
export const REDIS_REQUEST_MS = 1_500;

/** The edge waits this long for the commit of a submitted run. Shorter than a client waits for its 202. */
export const ACCEPT_MS = 2_000;

/**
 * A reservation in the queue lapses after this time.
 *
 * Longer than `REDIS_REQUEST_MS`, `ACCEPT_MS` and `STATEMENT_TIMEOUT_MS` together: the run is committed by then, or
 * never will be.
 */
export const RESERVATION_MS = 30_000;

/**
 * Settings, and the limits that the edge enforces itself, are at most this old when they are used. Shorter than the 5 s in which
 * a change acts.
 */
export const LIVE_VALUES_MS = 4_000;

// --- The reconciler: docs/protocol.md 7

/** A reconciler makes a pass this often. */
export const RECONCILER_PERIOD_MS = 5_000;

/** A reconciler's lock. Longer than two periods, so that one pass that fails does not hand the work to another. */
export const RECONCILER_LOCK_MS = 3 * RECONCILER_PERIOD_MS;

/**
 * A value that has not changed for this long counts as stalled.
 *
 * Longer than `SILENT_AFTER_MS` and a lease together: a takeover by another worker comes first.
 */
export const STALL_OBSERVATION_MS = 30_000;

/**
 * A silent owner's run has been taken over this long after the owner's last beat. At least a lease and a beat period: the
 * owner may have renewed its leases just before its next beat. `…/why` announces takeovers by it.
 */
export const TAKEOVER_MS = LEASE_MS + BEAT_PERIOD_MS;

/**
 * An overdue run has been reclaimed this long after its deadline. At least a stall's observation and a reconciler's period.
 * `…/why` announces reclaims by it.
 */
export const RECLAIM_MS = STALL_OBSERVATION_MS + RECONCILER_PERIOD_MS;

// --- Deleted tenants: docs/protocol.md 7.8

/**
 * A tenant is purged this long after its deletion was requested at the earliest. Longer than `RESERVATION_MS`: a run that was admitted
 * before the request is committed by then, or never will be.
 */
export const PURGE_AFTER_MS = 60_000;

/**
 * A worker reads a version of an orchestration again when it is this old.
 *
 * A version never changes while its tenant exists. A tenant that is created anew under the id of a purged one begins with version 1
 * again. The purged tenant's last run began some seconds after the request, so each version that a worker
 * has read of it is older than this when the tenant is purged.
 */
export const VERSION_KEPT_MS = 45_000;

// --- The live stream: docs/protocol.md 9

/** One XREAD on a live stream blocks this long. */
export const LIVE_BLOCK_MS = 5_000;

/** A connection on which XREAD has not answered for this long is dead. Longer than `LIVE_BLOCK_MS`. */
export const LIVE_DEAD_MS = LIVE_BLOCK_MS + 3_000;

/** A silent viewer gets a comment line this often, and its position is compared with Postgres. */
export const VIEWER_CHECK_MS = 15_000;

/** The same check while live entries do not come. Shorter than `VIEWER_CHECK_MS`. */
export const VIEWER_AWAY_CHECK_MS = 2_000;

/** The relay looks the keys of its open streams up this often: a stream ends at most this long after its key was revoked. */
export const KEY_CHECK_MS = 10_000;

// --- Webhooks: docs/protocol.md 7.7

/** A receiver has this long to answer. */
export const WEBHOOK_REQUEST_MS = 10_000;

/** A sender that nothing wakes claims due deliveries after this time at most. */
export const WEBHOOK_PASS_MS = 5_000;

/**
 * A delivery that is claimed belongs to its sender for this long.
 *
 * Longer than `WEBHOOK_REQUEST_MS`, so that no other worker repeats a request that is open. Longer than `WEBHOOK_PASS_MS`:
 * the passes of the other senders find a delivery of a dead worker as soon as its lease lapses.
 */
export const WEBHOOK_LEASE_MS = 2 * WEBHOOK_REQUEST_MS;
