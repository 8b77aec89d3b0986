import type { Sql } from "../../shared/store/sql.ts";
import {
  NeverSentError,
  isDatabaseUnreachable,
  isStandby,
  lacksRoom,
  sqlState,
} from "../../shared/store/unreachable.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { POSTGRES_STANDBY_PAUSE_MS } from "../../shared/timing.ts";
import { loginTimes } from "./login-times.ts";
import { TICK_MS, afterOwnTime, closeDatabase, openDatabase } from "./postgres.ts";
import type { DatabaseEnv } from "./postgres.ts";
import type { Sized } from "./fair-queue.ts";
import { Turns } from "./turns.ts";

/** A pooled connection may be dead without an error. When a query takes this long, a new connection is tried. */
const SLOW_QUERY_MS = 450;

/** The least time in which the new connection must answer: see `LoginTimes`. */
const PROBE_MS = 400;

/** Connections that were not used for this long, or up to twice as long, are closed. */
const IDLE_MS = 10_000;

/** The default for `as`: the queries of an object that reads for all tenants have one queue. */
const ALL: Sized = { tenant: "", bytes: 0 };

/** A query got no result within its time. `isDatabaseUnreachable` is true for it. The statement may be committed all the same. */
class NoAnswerError extends Error {
  readonly code = "CONNECTION_SILENT";
}

/** A query that has been sent. `sentMs`: in the pool's own time (`#ownMs`). */
type Sent = { sql: Sql; sentMs: number; isSlow: boolean; giveUp(error: Error): void };

/**
 * Postgres for an object that outlives a request: its connections are reused, and it never opens more than `max`.
 *
 * A query has a connection to itself, or waits for one: the time in which the database must answer begins only when it has the
 * connection. A pool that lost a connection gets no new queries, so that the next query fails within a second when the database is
 * unreachable; queries that are under way on its other connections go on. A slow query proves nothing: queries are given up only when
 * a new connection gets no answer either. Then all waiting queries fail too, because each would try in vain.
 *
 * A write that the database refused for want of disk or memory, or as a standby, proves that it answers. That of a standby replaces the
 * connections, once in two seconds: after a failover they may still lead to the old primary.
 *
 * Ages are measured in the time in which this process could have noticed an answer, as in `afterOwnTime`. Measured by the clock,
 * 60 runs of one batch were `database_away` while the process was busy with the megabytes of another batch, although Postgres had
 * answered in time.
 */
export class DatabasePool {
  readonly #env: DatabaseEnv;
  readonly #max: number;
  readonly #timeoutMs: number;
  readonly #idleMs: number;
  readonly #turns: Turns;
  #sql: Sql | null = null;
  readonly #sent = new Set<Sent>();
  /** One timer for all queries: two for each took a twelfth of a read's processor time. */
  #watch: ReturnType<typeof setInterval> | null = null;
  /** The pool's own time: it passes only while a query is under way and this process has time to look at it. */
  #ownMs = 0;
  /** The number of queries that got a result: an answer during a query or a probe shows that the database is reachable. */
  #answered = 0;
  #isProbing = false;
  /** The drivers' pools that got a query since their idle timer last looked. */
  readonly #used = new Set<Sql>();
  /** The drivers' pools in which a connection has completed its login. */
  readonly #loggedIn = new WeakSet<Sql>();
  /** Whether no login has succeeded yet: the first one has the whole time for a connection, also on a machine that has just started. */
  #isCold = true;
  /** The driver's pool on which the last query got no answer; null: the last query got one, or there was none. */
  #lastFailed: Sql | null = null;
  /** No refused write replaces the connections before this time. */
  #standbyUntilMs = 0;

  /** @param timeoutMs after this time a query without a result has failed, and its outcome is unknown */
  constructor(env: DatabaseEnv, max: number, timeoutMs: number, idleMs = IDLE_MS) {
    this.#env = env;
    this.#max = max;
    this.#timeoutMs = timeoutMs;
    this.#idleMs = idleMs;
    this.#turns = new Turns(max);
  }

  /**
   * Executes a query on a connection of its own, as soon as one is free.
   * @param as the tenant whose turn the query takes
   * @throws the driver's error; `isDatabaseUnreachable` is true for it when the database sent no result; AppError
   *   `capacity` when no connection was free in time
   */
  query<Result>(run: (sql: Sql) => Promise<Result>, as: Sized = ALL): Promise<Result> {
    return this.#turns.take(() => this.#execute(run), as);
  }

  /** As `query`, for a query that may be repeated: it is repeated once, when its connection broke before it was slow. */
  repeatable<Result>(run: (sql: Sql) => Promise<Result>, as: Sized = ALL): Promise<Result> {
    return this.#turns.take(async () => {
      const startedMs = this.#ownMs;
      try {
        return await this.#execute(run);
      } catch (error) {
        const isBroken = isDatabaseUnreachable(error) && this.#ownMs - startedMs < SLOW_QUERY_MS;
        if (!isBroken) throw error;
        return await this.#execute(run);
      }
    }, as);
  }

  close(): void {
    if (this.#sql) this.#giveUp(this.#sql);
  }

  async #execute<Result>(run: (sql: Sql) => Promise<Result>): Promise<Result> {
    const sql = (this.#sql ??= this.#open());
    const answered = this.#answered;
    const startedMs = this.#ownMs;
    const { promise: timeout, reject } = Promise.withResolvers<never>();
    const sent = { sql, sentMs: startedMs, isSlow: false, giveUp: reject };
    this.#sent.add(sent);
    this.#used.add(sql);
    this.#watch ??= setInterval(() => this.#lookAtSent(), TICK_MS);
    try {
      const result = await Promise.race([run(sql), timeout]);
      this.#answered += 1;
      this.#lastFailed = null;
      return result;
    } catch (error) {
      if (isStandby(error) || lacksRoom(error)) {
        this.#answered += 1;
        if (isStandby(error)) this.#leaveStandby(sql);
      } else if (isDatabaseUnreachable(error)) {
        this.#retire(sql);
        // A query whose connection broke at once proves nothing: all connections of one pool may break at the same moment. It counts as
        // a failed try only when it was slow, or when the query before it failed on an earlier pool.
        const isNext = this.#lastFailed !== null && this.#lastFailed !== sql;
        const wasTried = this.#ownMs - startedMs >= SLOW_QUERY_MS || isNext;
        this.#lastFailed = sql;
        const known = this.#loggedIn.has(sql)
          ? error
          : new NeverSentError("no login succeeded", { cause: error });
        if (wasTried && this.#answered === answered) this.#turns.refuseWaiting(known);
        throw known;
      }
      throw error;
    } finally {
      this.#sent.delete(sent);
    }
  }

  #lookAtSent(): void {
    if (this.#sent.size === 0 && this.#watch !== null) {
      clearInterval(this.#watch);
      this.#watch = null;
    }
    this.#ownMs += TICK_MS;
    for (const sent of this.#sent) {
      const ageMs = this.#ownMs - sent.sentMs;
      if (ageMs >= this.#timeoutMs) sent.giveUp(new NoAnswerError("the database sent no result in time"));
      if (ageMs < SLOW_QUERY_MS || sent.isSlow || this.#isCold) continue;
      sent.isSlow = true;
      void this.#probe(sent.sql);
    }
  }

  /** Gives up a pool when neither it nor a new connection gets an answer. One probe at a time serves all slow queries. */
  async #probe(sql: Sql): Promise<void> {
    if (this.#isProbing) return;
    this.#isProbing = true;
    const answered = this.#answered;
    const probe = openDatabase(this.#env, 1);
    const stopTimer = afterOwnTime(loginTimes.limitMs(PROBE_MS), () => void closeDatabase(probe));
    try {
      await probe`select`;
    } catch (error) {
      // A database that is out of connections is reachable.
      const isFull = sqlState(error)?.startsWith("53") ?? false;
      if (isDatabaseUnreachable(error) && !isFull && this.#answered === answered) this.#giveUp(sql);
    } finally {
      stopTimer();
      this.#isProbing = false;
      await closeDatabase(probe);
    }
  }

  #open(): Sql {
    const sql: Sql = openDatabase(this.#env, this.#max, {
      isFirst: this.#isCold,
      onlogin: () => {
        this.#isCold = false;
        this.#loggedIn.add(sql);
      },
      onclose: () => {
        if (this.#sql === sql) this.#sql = null;
      },
    });
    this.#closeWhenIdle(sql);
    return sql;
  }

  /**
   * Closes the connections of a driver's pool that no query uses any more, also those of a pool that lost one. The driver's own
   * `idle_timeout` clears a timer for each query, and each cleared timer keeps memory for as long as the object lives
   * (`findings/workerd-cleared-timer-stays.sh`). A timer that ends in its own callback keeps none.
   */
  #closeWhenIdle(sql: Sql): void {
    const timer = setInterval(() => {
      const isUsed = this.#used.delete(sql) || [...this.#sent].some((sent) => sent.sql === sql);
      if (isUsed) return;
      clearInterval(timer);
      this.#giveUp(sql);
    }, this.#idleMs);
  }

  /** Replaces connections to a standby, unless the server may have been read-only for long, as with a full disk. */
  #leaveStandby(sql: Sql): void {
    if (this.#sql !== sql || elapsedMs() < this.#standbyUntilMs) return;
    this.#standbyUntilMs = elapsedMs() + POSTGRES_STANDBY_PAUSE_MS;
    this.#retire(sql);
  }

  /** Sends no new query on these connections, and closes each when its query has ended. */
  #retire(sql: Sql): void {
    if (this.#sql === sql) this.#sql = null;
    void closeDatabase(sql, this.#timeoutMs);
  }

  #giveUp(sql: Sql): void {
    if (this.#sql === sql) this.#sql = null;
    void closeDatabase(sql);
  }
}
