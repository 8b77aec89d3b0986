import postgres from "postgres";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";

/** A database that has not let us in by then is away: who asks hears it within a second. */
const CONNECT_MS = 850;

/** A kept connection that has not answered for so long may be dead without our having been told. */
const DOUBT_MS = 450;

/** Then a new one is tried, and must have its answer within so long. */
const PROBE_MS = 400;

/**
 * Postgres through Hyperdrive, for one request: a socket cannot be used by another, and the runtime closes it with
 * the request. Queries are rejected when nobody has let us in within a second.
 *
 * The driver's own `connect_timeout` is not enough: it connects again, without a pause and for ever, when a
 * connection is closed cleanly before it was ready (which is what a proxy does whose database is gone).
 */
export function openDatabase(env: Env, max = 5, onclose = () => {}): Sql {
  const timer = setTimeout(() => void close(sql), CONNECT_MS);
  const sql = postgres(env.HYPERDRIVE.connectionString, {
    ...connectionOptions,
    prepare: readConfig(env).PREPARE_STATEMENTS,
    max,
    idle_timeout: 20,
    // The first thing that a server says to those whom it has let in.
    onparameter: () => clearTimeout(timer),
    onclose,
  });
  return sql;
}

/**
 * Postgres for an object that lives longer than a request: connections are kept. A pool that has lost one is not
 * asked again, so that what comes next is told within a second when nobody lets us in. A question that takes long is
 * no proof of anything; that nothing is answered, and a new connection neither, is.
 */
export class KeptDatabase {
  readonly #env: Env;
  readonly #max: number;
  readonly #answerMs: number;
  #sql: Sql | null = null;
  #answered = 0;
  #isProbing = false;

  /** @param answerMs a question that has no answer by then has failed, and its outcome is unknown */
  constructor(env: Env, max: number, answerMs: number) {
    this.#env = env;
    this.#max = max;
    this.#answerMs = answerMs;
  }

  /** @throws the driver's error; `isDatabaseAway` of it when there was no answer */
  async query<Answer>(question: (sql: Sql) => Promise<Answer>): Promise<Answer> {
    const sql = (this.#sql ??= this.#open());
    const timers = [
      setTimeout(() => void this.#probe(sql), DOUBT_MS),
      setTimeout(() => this.#drop(sql), this.#answerMs),
    ];
    try {
      const answer = await question(sql);
      this.#answered += 1;
      return answer;
    } catch (error) {
      if (isDatabaseAway(error)) this.#drop(sql);
      throw error;
    } finally {
      for (const timer of timers) clearTimeout(timer);
    }
  }

  close(): void {
    if (this.#sql) this.#drop(this.#sql);
  }

  /** Drops a pool when neither it nor a new connection is answered. One at a time: many may wait for the same reason. */
  async #probe(sql: Sql): Promise<void> {
    if (this.#isProbing) return;
    this.#isProbing = true;
    const answered = this.#answered;
    const probe = openDatabase(this.#env, 1);
    const timer = setTimeout(() => void close(probe), PROBE_MS);
    try {
      await probe`select`;
    } catch (error) {
      // Full is not away.
      const isFull = sqlState(error)?.startsWith("53") ?? false;
      if (isDatabaseAway(error) && !isFull && this.#answered === answered) this.#drop(sql);
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

/** Rejects what is not answered and closes all connections. */
async function close(sql: Sql): Promise<void> {
  try {
    await sql.end({ timeout: 0 });
  } catch {
    // A socket that has failed before has nothing left to close.
  }
}

/**
 * Connection lost or refused, also by PgBouncer (08), shut down or starting up (57P), out of connections (53), a standby
 * (25006), and Hyperdrive's own errors (58000: developers.cloudflare.com/hyperdrive/observability/troubleshooting).
 */
const AWAY_STATE = /^(08|57P|53|25006|58000)/;
const AWAY_CODE = /^(CONNECT|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOST)/;
/** The errors of workerd's sockets have no code. */
const AWAY_MESSAGE =
  /network connection lost|connection (attempt failed|(was )?(closed|lost|refused|reset))|writablestream has been closed|socket|proxy request/i;

/** Is this the error of a database that cannot be asked, rather than its answer? */
export function isDatabaseAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error.name === "PostgresError") return AWAY_STATE.test(sqlState(error) ?? "");
  return AWAY_CODE.test(sqlState(error) ?? "") || AWAY_MESSAGE.test(error.message);
}

/** The SQLSTATE, or the driver's own code, of an error. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
