import postgres from "postgres";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { isDatabaseUnreachable, sqlState } from "../../shared/store/unreachable.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";

/** A database that has not completed the login after this time counts as unreachable: queries fail within a second. */
const CONNECT_MS = 850;

/** A pooled connection may be dead without an error. When a query takes this long, a new connection is tried. */
const SLOW_QUERY_MS = 450;

/** The time in which the new connection must answer. */
const PROBE_MS = 400;

/**
 * Opens Postgres through Hyperdrive for one request: another request cannot use its sockets, and the runtime closes
 * them with the request. Queries are rejected when the login does not complete within a second.
 *
 * The driver's own `connect_timeout` is not enough. A proxy that cannot reach its database closes a connection cleanly
 * before it is ready, and the driver then connects again, without a pause and for ever.
 */
export function openDatabase(env: Env, max = 5, onclose = () => {}): Sql {
  const timer = setTimeout(() => void close(sql), CONNECT_MS);
  const sql = postgres(env.HYPERDRIVE.connectionString, {
    ...connectionOptions,
    prepare: readConfig(env).PREPARE_STATEMENTS,
    max,
    idle_timeout: 20,
    // A server sends its parameters first, as soon as the login is complete.
    onparameter: () => clearTimeout(timer),
    onclose,
  });
  return sql;
}

/**
 * Postgres for an object that outlives a request: its connections are reused.
 *
 * A pool that lost a connection is never used again, so that the next query fails within a second when the database
 * is unreachable. A slow query proves nothing; the pool is dropped only when a new connection gets no answer either.
 */
export class DatabasePool {
  readonly #env: Env;
  readonly #max: number;
  readonly #timeoutMs: number;
  #sql: Sql | null = null;
  #answered = 0;
  #isProbing = false;

  /** @param timeoutMs after this time a query without a result has failed, and its outcome is unknown */
  constructor(env: Env, max: number, timeoutMs: number) {
    this.#env = env;
    this.#max = max;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws the driver's error; `isDatabaseUnreachable` is true for it when the database sent no result */
  async query<Result>(run: (sql: Sql) => Promise<Result>): Promise<Result> {
    const sql = (this.#sql ??= this.#open());
    const timers = [
      setTimeout(() => void this.#probe(sql), SLOW_QUERY_MS),
      setTimeout(() => this.#drop(sql), this.#timeoutMs),
    ];
    try {
      const result = await run(sql);
      this.#answered += 1;
      return result;
    } catch (error) {
      if (isDatabaseUnreachable(error)) this.#drop(sql);
      throw error;
    } finally {
      for (const timer of timers) clearTimeout(timer);
    }
  }

  close(): void {
    if (this.#sql) this.#drop(this.#sql);
  }

  /** Drops a pool when neither it nor a new connection gets an answer. One probe at a time serves all slow queries. */
  async #probe(sql: Sql): Promise<void> {
    if (this.#isProbing) return;
    this.#isProbing = true;
    const answered = this.#answered;
    const probe = openDatabase(this.#env, 1);
    const timer = setTimeout(() => void close(probe), PROBE_MS);
    try {
      await probe`select`;
    } catch (error) {
      // A database that is out of connections is reachable.
      const isFull = sqlState(error)?.startsWith("53") ?? false;
      if (isDatabaseUnreachable(error) && !isFull && this.#answered === answered) this.#drop(sql);
    } finally {
      clearTimeout(timer);
      this.#isProbing = false;
      await close(probe);
    }
  }

  #open(): Sql {
    const sql: Sql = openDatabase(this.#env, this.#max, () => {
      if (this.#sql === sql) this.#sql = null;
    });
    return sql;
  }

  #drop(sql: Sql): void {
    if (this.#sql === sql) this.#sql = null;
    void close(sql);
  }
}

/** Rejects pending queries and closes all connections. */
async function close(sql: Sql): Promise<void> {
  try {
    await sql.end({ timeout: 0 });
  } catch {
    // A socket that has already failed has nothing left to close.
  }
}
