import type { ServerConnection } from "./connection.ts";

/** A connection that is idle for longer than this is closed. */
const IDLE_MS = 60_000;
/** A connection that is older than this is not kept: its credentials and its stream of notices have an end. */
const MAX_AGE_MS = 15 * 60_000;
/** The most idle connections of a worker, and of one tenant, so that a tenant takes no others' places. */
const MAX_IDLE = 64;
const MAX_OF_TENANT = 16;

/** The row of the server to which a connection leads, and the tenant that uses the connection. */
export type UsedServer = { tenant: string; owner: string; name: string; version: number };

type Idle = { used: UsedServer; connection: ServerConnection; sinceMs: number };

/** The connections that no call uses at present, the longest idle first. */
export class IdleConnections {
  readonly #onClosed: (connection: ServerConnection) => void;
  #idle: Idle[] = [];

  constructor(onClosed: (connection: ServerConnection) => void) {
    this.#onClosed = onClosed;
  }

  /** The connection that was used last by this tenant with this version of the row, for one call; null: there is none. */
  take(used: UsedServer): ServerConnection | null {
    const found = this.#idle.findLast((idle) => isSame(idle.used, used));
    if (found === undefined) return null;
    this.#idle = this.#idle.filter((idle) => idle !== found);
    return found.connection;
  }

  /** Keeps a connection, in the place of the oldest one when there are too many. */
  async keep(used: UsedServer, connection: ServerConnection, nowMs: number): Promise<void> {
    if (nowMs - connection.madeMs > MAX_AGE_MS) {
      await connection.close();
      this.#onClosed(connection);
      return;
    }
    this.#idle.push({ used, connection, sinceMs: nowMs });
    const ofTenant = this.#idle.filter((idle) => idle.used.tenant === used.tenant);
    const oldest =
      ofTenant.length > MAX_OF_TENANT ? ofTenant[0] : this.#idle.length > MAX_IDLE ? this.#idle[0] : null;
    await this.#closeIf((idle) => idle === oldest);
  }

  /** The servers and tenants of the idle connections. */
  get used(): UsedServer[] {
    return this.#idle.map(({ used }) => used);
  }

  async closeOld(nowMs: number): Promise<void> {
    await this.#closeIf(({ sinceMs }) => nowMs - sinceMs > IDLE_MS);
  }

  /** Closes the connections of servers for which `isOver` holds. */
  async closeOf(isOver: (used: UsedServer) => boolean): Promise<void> {
    await this.#closeIf(({ used }) => isOver(used));
  }

  async #closeIf(isOver: (idle: Idle) => boolean): Promise<void> {
    const over = this.#idle.filter(isOver);
    this.#idle = this.#idle.filter((idle) => !over.includes(idle));
    await Promise.all(
      over.map(({ connection }) => connection.close().finally(() => this.#onClosed(connection))),
    );
  }
}

function isSame(one: UsedServer, other: UsedServer): boolean {
  return (
    one.tenant === other.tenant &&
    one.owner === other.owner &&
    one.name === other.name &&
    one.version === other.version
  );
}
