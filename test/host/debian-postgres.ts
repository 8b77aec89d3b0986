/** Debian's Postgres, which is older than the one from npm, in a folder of the test's own. */
import { spawnSync } from "node:child_process";
import { chownSync, mkdirSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../../local/processes/free-ports.ts";
import { postgresUser, type PostgresUser } from "../../local/stores/postgres-binaries.ts";
import { startProcess, stopProcess, untilReady, type Service } from "../../local/processes/child.ts";
import { databasesFolder, newFolder, postgresSettings } from "../services/databases-folder.ts";
import { expectAnswer } from "./postgres-answers.ts";

const installed = "/usr/lib/postgresql";
/** The oldest version that the project supports. */
const FLOOR = 14;

/** An installed version, the user that runs it, and a folder that this user can enter. */
export type DebianPostgres = { major: number; bin: string; user: PostgresUser; dir: string };

/** The oldest installed version from 14 on. @param parent where its folder is made */
export function findDebianPostgres(parent = tmpdir()): DebianPostgres {
  const [major] = readdirSync(installed)
    .map(Number)
    .filter((number) => number >= FLOOR)
    .toSorted((a, b) => a - b);
  if (major === undefined)
    throw new Error("Debian's Postgres is missing: sudo apt-get install -y postgresql");
  const dir = newFolder(parent);
  return { major, bin: join(installed, String(major), "bin"), user: postgresUser(), dir };
}

/** Makes a folder that belongs to the user of Postgres. @returns its path */
export function makeFolder({ dir, user }: DebianPostgres, name: string): string {
  const folder = join(dir, name);
  mkdirSync(folder, { mode: 0o700 });
  if (user !== null) chownSync(folder, user.uid, user.gid);
  return folder;
}

/** Makes the data folder of a new server. */
export function initDebianPostgres(debian: DebianPostgres): string {
  const data = makeFolder(debian, "data");
  const args = ["-D", data, "-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C", "--no-sync"];
  const initdb = spawnSync(join(debian.bin, "initdb"), args, { ...debian.user, cwd: "/", encoding: "utf8" });
  if (initdb.status !== 0) throw new Error(`initdb failed: ${initdb.stderr}`, { cause: initdb.error });
  return data;
}

/**
 * Starts a server on a data folder, and waits until it answers.
 * @param settings added to those of this file
 * @returns its URL, of the database `postgres`; `stop` ends it by the signal, SIGINT if absent
 */
export async function startOnData(
  debian: DebianPostgres,
  data: string,
  port: number,
  settings: Record<string, string> = {},
) {
  const all = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: "200",
    ...settings,
  };
  const flags = Object.entries(all).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const log = join(debian.dir, "postgres.log");
  const command = {
    command: join(debian.bin, "postgres"),
    args: ["-D", data, "-p", String(port), ...flags],
    ...debian.user,
  };
  const child = startProcess(command, log, "SIGINT");
  const url = `postgres://postgres:synapse@127.0.0.1:${port}/postgres`;
  await untilReady(child, log, () => expectAnswer(url));
  return {
    url,
    port,
    pid: child.pid ?? null,
    stop: (signal: NodeJS.Signals = "SIGINT") => stopProcess(child, signal),
  };
}

/**
 * Starts the oldest installed version from 14 on, with the settings of tests. @returns its URL, of the database `postgres`, and its
 * version.
 */
export async function startDebianPostgres(): Promise<Service & { major: number }> {
  const databases = databasesFolder();
  const debian = findDebianPostgres(databases.folder);
  const server = await startOnData(debian, initDebianPostgres(debian), await freePort(0), postgresSettings);
  return {
    ...server,
    major: debian.major,
    async stop() {
      await server.stop();
      databases.remove();
    },
  };
}
