import type { Sql } from "../../shared/store/sql.ts";

/**
 * Spreads statements over connections to Postgres, of which it opens no more than statements are pending at once. A statement gets the first
 * connection that is free, or a new one when none is free. With `max` connections it gets the one with the fewest statements, and of several
 * such the one whose statement began last: statements are pipelined, and the one that began first may be slow.
 *
 * A connection that got no statement for `idleMs` is closed. The driver's own pool gives its connections in turn, so none of them is ever
 * idle: an idle worker kept six processes of Postgres, each with the plans of all its statements (30 MB).
 */
export class SpreadStatements {
  readonly #connect: () => Sql;
  readonly #max: number;
  readonly #idleMs: number;
  #open: Connection[] = [];

  /** @param connect opens a driver's pool of one connection */
  constructor(connect: () => Sql, { max, idleMs }: { max: number; idleMs: number }) {
    this.#connect = connect;
    this.#max = max;
    this.#idleMs = idleMs;
  }

  async execute<Result>(statement: (sql: Sql) => Promise<Result>): Promise<Result> {
    const connection = this.#choose();
    connection.pending++;
    connection.usedMs = performance.now();
    try {
      return await statement(connection.sql);
    } finally {
      connection.pending--;
      connection.usedMs = performance.now();
      this.#closeIdle();
    }
  }

  /** Closes all connections. Statements that are pending after `timeoutSeconds` are rejected. */
  async end(timeoutSeconds: number): Promise<void> {
    await Promise.all(this.#open.map(({ sql }) => sql.end({ timeout: timeoutSeconds })));
  }

  #choose(): Connection {
    const free = this.#open.find(({ pending }) => pending === 0);
    if (free) return free;
    if (this.#open.length === this.#max)
      return this.#open.reduce((best, each) => (isBefore(each, best) ? each : best));
    const connection = { sql: this.#connect(), pending: 0, usedMs: 0 };
    this.#open.push(connection);
    return connection;
  }

  /** The first connection stays open: a statement that comes after a pause does not wait for a login. */
  #closeIdle(): void {
    const idleSince = performance.now() - this.#idleMs;
    const isIdle = ({ pending, usedMs }: Connection): boolean => pending === 0 && usedMs <= idleSince;
    const idle = this.#open.slice(1).filter(isIdle);
    if (idle.length === 0) return;
    this.#open = this.#open.filter((each) => !idle.includes(each));
    for (const { sql } of idle) sql.end({ timeout: 0 }).catch(() => {}); // a socket that has failed has nothing to close
  }
}

/** `usedMs`: when its latest statement began or ended. */
type Connection = { sql: Sql; pending: number; usedMs: number };

function isBefore(a: Connection, b: Connection): boolean {
  return a.pending === b.pending ? a.usedMs >= b.usedMs : a.pending < b.pending;
}
