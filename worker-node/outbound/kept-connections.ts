import http from "node:http";
import https from "node:https";
import type { Duplex } from "node:stream";

/** Shorter than servers wait for the next request: most wait five seconds or longer. */
const IDLE_MS = 4_000;
const MAX_IDLE = 1_024;
const MAX_IDLE_OF_TENANT = 128;
const MAX_TENANTS = 1_000;

/** The connections of one tenant, by protocol. */
export type TenantConnections = { "http:": http.Agent; "https:": https.Agent };

/**
 * Connections that stay open for the next request of the same tenant to the same origin: a new one costs a round trip, and
 * with TLS two or three.
 *
 * The egress guard has judged the address of each when it was opened, and its rules do not change while a worker runs. Tenants
 * share none, so that surplus bytes of a server reach no other tenant. A connection closes after four
 * seconds without a request. At most 128 of a tenant and 1,024 in all are open without one; any other closes after its response.
 */
export class KeptConnections {
  readonly #tenants = new Map<string, TenantConnections>();
  readonly #idle = new Set<Duplex>();

  of(tenant: string): TenantConnections {
    const found = this.#tenants.get(tenant) ?? this.#open();
    // The map is in the order of use. A tenant that is dropped opens new connections; its idle ones close by themselves.
    this.#tenants.delete(tenant);
    this.#tenants.set(tenant, found);
    const [oldest] = this.#tenants.keys();
    if (this.#tenants.size > MAX_TENANTS && oldest !== undefined) this.#tenants.delete(oldest);
    return found;
  }

  #open(): TenantConnections {
    const options = { keepAlive: true, timeout: IDLE_MS } as const;
    const connections = { "http:": new http.Agent(options), "https:": new https.Agent(options) };
    const idleOfTenant = new Set<Duplex>();
    for (const agent of Object.values(connections)) this.#bound(agent, idleOfTenant);
    return connections;
  }

  /** Node closes a connection for which `keepSocketAlive` returns nothing. */
  #bound(agent: http.Agent, idleOfTenant: Set<Duplex>): void {
    const keep = agent.keepSocketAlive.bind(agent);
    const reuse = agent.reuseSocket.bind(agent);
    const known = new WeakSet<Duplex>();
    const forget = (socket: Duplex): void => {
      this.#idle.delete(socket);
      idleOfTenant.delete(socket);
    };
    agent.keepSocketAlive = (socket) => {
      if (this.#idle.size >= MAX_IDLE || idleOfTenant.size >= MAX_IDLE_OF_TENANT) return undefined;
      this.#idle.add(socket);
      idleOfTenant.add(socket);
      if (!known.has(socket)) socket.once("close", () => forget(socket));
      known.add(socket);
      return keep(socket);
    };
    agent.reuseSocket = (socket, request) => {
      forget(socket);
      reuse(socket, request);
    };
  }
}
