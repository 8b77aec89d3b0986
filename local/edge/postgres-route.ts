/**
 * The edge's way to Postgres.
 *
 * workerd's Hyperdrive binding speaks plain TCP, and resolves a name once, at its start. This proxy on 127.0.0.1 takes its
 * connections, resolves the server's name for each, and continues them with TLS when the URL asks for it. Postgres begins TLS
 * only after the message SSLRequest ("SSL Session Encryption" in chapter 54.2.11 of its manual).
 */
import { once } from "node:events";
import { connect, createServer, isIP, type Socket } from "node:net";
import { pipeline } from "node:stream/promises";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { postgresTlsOf } from "../../worker-node/clients/postgres-tls.ts";
import type { TlsMode } from "../../worker-node/clients/postgres-tls.ts";

const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const HANDSHAKE_MS = 10_000;

/** `address`: `host:port` at which workerd reaches the database. */
export type PostgresRoute = { address: string; close(): void };

/**
 * The route to the database of `url`, with the TLS of `postgresTlsOf`. To an IP address without TLS it is the server itself. Else it is a
 * proxy, also to a name without TLS, because workerd would never find a server whose address changed.
 * @throws Error as `postgresTlsOf`
 */
export async function openPostgresRoute(url: URL): Promise<PostgresRoute> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = Number(url.port || 5432);
  const { mode, options: tls } = postgresTlsOf(url);
  if (mode === "disable" && isIP(host) !== 0) return { address: `${url.hostname}:${port}`, close() {} };

  const clients = new Set<Socket>();
  const server = createServer((client) => {
    clients.add(client);
    client.once("close", () => clients.delete(client));
    joinWithServer(client, { host, port }, mode, tls).catch((error: unknown) => {
      console.error(`edge | no connection to Postgres at ${host}:${port}: ${String(error)}`);
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  if (address === null || typeof address === "string")
    throw new Error("the proxy before Postgres has no port");
  return {
    address: `127.0.0.1:${address.port}`,
    close() {
      server.close();
      for (const client of clients) client.destroy();
    },
  };
}

/**
 * Joins `client` with the server, until one of them ends. When there is no connection to the server, the client gets an error
 * message of Postgres' protocol: a driver connects again and again to a server that only closes the connection.
 */
async function joinWithServer(
  client: Socket,
  { host, port }: { host: string; port: number },
  mode: TlsMode,
  tls: ConnectionOptions,
): Promise<void> {
  const plain = connect({ host, port, noDelay: true });
  client.setNoDelay(true);
  client.once("close", () => plain.destroy());
  client.on("error", () => client.destroy());
  let server: Socket = plain;
  try {
    const signal = AbortSignal.timeout(HANDSHAKE_MS);
    await once(plain, "connect", { signal });
    if (mode !== "disable") plain.write(SSL_REQUEST);
    const answer = mode === "disable" ? "N" : await answerOf(plain, signal);
    if (answer === "S") {
      const secure = connectTls({ ...tls, socket: plain });
      await once(secure, "secureConnect", { signal });
      server = secure;
    } else if (mode !== "prefer" && mode !== "disable") throw new Error("the server has no TLS");
  } catch (error) {
    plain.on("error", () => {});
    plain.destroy();
    client.end(fatalError(`no connection to Postgres: ${String(error)}`));
    throw error;
  }
  // Either side may reset its connection at any time; the other one is then closed too.
  const flows = [pipeline(client, server), pipeline(server, client)];
  await Promise.allSettled(flows);
  server.destroy();
  client.destroy();
}

/**
 * The server's answer to SSLRequest: one byte. A longer answer is refused, because somebody else may have sent the other bytes: those
 * before the handshake are not protected (CVE-2021-23222).
 */
async function answerOf(plain: Socket, signal: AbortSignal): Promise<string> {
  const [bytes]: unknown[] = await once(plain, "data", { signal });
  plain.pause();
  const answer = String(bytes);
  if (answer !== "S" && answer !== "N") throw new Error("the server does not answer a request for TLS");
  return answer;
}

/** An ErrorResponse of Postgres' protocol, with the state `connection_failure`. */
function fatalError(message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C08006\0M${message}\0\0`);
  const head = Buffer.from("E\0\0\0\0");
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}
