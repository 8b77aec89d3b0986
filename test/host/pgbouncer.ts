/** Debian's PgBouncer in transaction mode: each transaction of a client may use another connection. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../local/processes/free-ports.ts";
import { postgresUser } from "../../local/stores/postgres-binaries.ts";
import { projectFolder } from "../../local/processes/programs.ts";
import { startProcess, stopProcess, untilReady, type Service } from "../../local/processes/child.ts";
import { expectAnswer } from "./postgres-answers.ts";

/**
 * Starts it in front of every database of a server without passwords.
 * @returns `url` names the database of `serverUrl`. It has `prepare=false`, because a named statement belongs to the
 * connection that prepared it: before PgBouncer 1.21 a query that uses it on another connection waits for ever.
 */
export function startPgBouncer(serverUrl: string, poolSize: number): Promise<Service> {
  const server = new URL(serverUrl);
  return startWith(server, (port) => settings(server, port, poolSize));
}

/**
 * Starts it with the settings of deploy/pgbouncer.ini, except for addresses and what this version does not know.
 * @param users the content of the file of users
 */
export function startDeployedPgBouncer(serverUrl: URL, users: string): Promise<Service> {
  const deployed = readFileSync(join(projectFolder, "deploy/pgbouncer.ini"), "utf8");
  return startWith(serverUrl, (port, dir) => {
    const file = join(dir, "userlist.txt");
    writeFileSync(file, users, { mode: 0o644 });
    const changes = [
      ["host=postgres port=5432", `host=${serverUrl.hostname} port=${serverUrl.port}`],
      ["listen_addr = 0.0.0.0", "listen_addr = 127.0.0.1"],
      ["listen_port = 6432", `listen_port = ${port}`],
      ["/etc/pgbouncer/userlist.txt", file],
      ["max_prepared_statements = 200", ""],
    ] as const;
    return changes.reduce((text, [from, to]) => {
      if (!text.includes(from)) throw new Error(`deploy/pgbouncer.ini has no "${from}"`);
      return text.replace(from, to);
    }, deployed);
  });
}

async function startWith(server: URL, ini: (port: number, dir: string) => string): Promise<Service> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-pgbouncer-"));
  chmodSync(dir, 0o755); // it refuses to run as root, so another user must be able to enter this folder
  const port = await freePort(0);
  const file = join(dir, "pgbouncer.ini");
  writeFileSync(file, ini(port, dir), { mode: 0o644 });

  const log = join(dir, "pgbouncer.log");
  const command = { command: "/usr/sbin/pgbouncer", args: [file], ...postgresUser() };
  const child = startProcess(command, log, "SIGTERM");
  const url = new URL(server);
  url.port = String(port);
  url.searchParams.set("prepare", "false");
  await untilReady(child, log, () => expectAnswer(url.href));
  return {
    url: url.href,
    port,
    pid: child.pid ?? null,
    async stop() {
      await stopProcess(child, "SIGTERM");
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A pool belongs to one database; many clients share its few connections. */
function settings(server: URL, port: number, poolSize: number): string {
  return `[databases]
* = host=${server.hostname} port=${server.port} user=${server.username}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
`;
}
