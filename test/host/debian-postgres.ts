/** Debian's Postgres, which is older than the one from npm, in a folder of the test's own. */
import { spawnSync } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, chmodSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { freePort } from "../../local/processes/free-ports.ts";
import { postgresUser } from "../../local/stores/postgres-binaries.ts";
import { startProcess, stopProcess, untilReady, type Service } from "../../local/processes/child.ts";

const installed = "/usr/lib/postgresql";
/** The oldest version that the project supports. */
const FLOOR = 14;

/** Starts the oldest installed version from 14 on. @returns its URL, of the database `postgres`, and its version. */
export async function startDebianPostgres(): Promise<Service & { major: number }> {
  const [major] = readdirSync(installed)
    .map(Number)
    .filter((number) => number >= FLOOR)
    .toSorted((a, b) => a - b);
  if (major === undefined)
    throw new Error("Debian's Postgres is missing: sudo apt-get install -y postgresql");
  const bin = join(installed, String(major), "bin");
  const user = postgresUser();
  const dir = mkdtempSync(join(tmpdir(), "synapse-debian-postgres-"));
  chmodSync(dir, 0o711); // under root another user runs it, and must be able to enter this folder
  const data = join(dir, "data");
  mkdirSync(data, { mode: 0o700 });
  if (user !== null) chownSync(data, user.uid, user.gid);

  const args = ["-D", data, "-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
  const initdb = spawnSync(join(bin, "initdb"), args, { ...user, cwd: "/", encoding: "utf8" });
  if (initdb.status !== 0) throw new Error(`initdb failed: ${initdb.stderr}`, { cause: initdb.error });

  const port = await freePort(0);
  const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"];
  const flags = ["-D", data, "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])];
  const log = join(dir, "postgres.log");
  const child = startProcess({ command: join(bin, "postgres"), args: flags, ...user }, log, "SIGINT");
  const url = `postgres://postgres:synapse@127.0.0.1:${port}/postgres`;
  await untilReady(child, log, () => answers(url));
  return {
    url,
    port,
    major,
    pid: child.pid ?? null,
    async stop() {
      await stopProcess(child, "SIGINT");
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function answers(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, connect_timeout: 2, fetch_types: false });
  try {
    await sql`select 1`;
  } finally {
    await sql.end({ timeout: 1 });
  }
}
