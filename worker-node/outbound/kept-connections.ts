import http from "node:http";
import https from "node:https";
import type { Duplex } from "node:stream";

/** Shorter than servers wait for the next request: most wait five seconds or longer. */
const IDLE_MS = 4_000;
const MAX_IDLE = 1_024;
const MAX_IDLE_OF_TENANT = 128;
const MAX_TENANTS = 1_000;
/** How long requests that must not be repeated use no kept connection of an origin that has closed one too early. */
const DISTRUST_MS = 60_000;
const MAX_DISTRUSTED = 100;

/**
 * Connections that stay open for the next request of the same tenant to the same origin: a new one costs a round trip, and
 * with TLS two or three.
 *
 * The egress guard has judged the address of each when it was opened, and its rules do not change while a worker runs. Tenants
 * share none, so that surplus bytes of a server reach no other tenant. A connection closes after `idleMs`
 * without a request. At most 128 of a tenant and 1,024 in all are open without one; any other closes after its response.
 */
export class KeptConnections {
  readonly #idleMs: number;
  readonly #tenants = new Map<string, TenantConnections>();
  readonly #idle = new Set<Duplex>();

  constructor({ idleMs = IDLE_MS }: { idleMs?: number } = {}) {
    this.#idleMs = idleMs;
  }

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
    const options = { keepAlive: true, timeout: this.#idleMs } as const;
    const [plain, tls] = [new http.Agent(options), new https.Agent(options)];
    const idleOfTenant = new Set<Duplex>();
    for (const agent of [plain, tls]) this.#bound(agent, idleOfTenant);
    return new TenantConnections(plain, tls);
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

/** The kept connections of one tenant. */
export class TenantConnections {
  readonly #plain: http.Agent;
  readonly #tls: https.Agent;
  /** Origins that have closed a kept connection as a request came, each with the end of the distrust, the oldest first. */
  readonly #distrustedUntilMs = new Map<string, number>();

  constructor(plain: http.Agent, tls: https.Agent) {
    this.#plain = plain;
    this.#tls = tls;
  }

  /** What connects a request to this URL. False: a new connection, which is not kept. */
  agentOf(url: URL, { mayRepeat }: { mayRepeat: boolean }): http.Agent | false {
    if (!mayRepeat && this.#isDistrusted(url)) return false;
    return url.protocol === "https:" ? this.#tls : this.#plain;
  }

  #isDistrusted({ origin }: URL): boolean {
    return (this.#distrustedUntilMs.get(origin) ?? 0) > performance.now();
  }

  /** The origin has closed a kept connection without a response. */
  distrust({ origin }: URL): void {
    this.#distrustedUntilMs.delete(origin);
    this.#distrustedUntilMs.set(origin, performance.now() + DISTRUST_MS);
    const [oldest] = this.#distrustedUntilMs.keys();
    if (this.#distrustedUntilMs.size > MAX_DISTRUSTED && oldest !== undefined)
      this.#distrustedUntilMs.delete(oldest);
  }
}
