/** A Postgres of this stack. Its data survives every way to end it. */
import { spawnSync } from "node:child_process";
import { hash } from "node:crypto";
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import postgres from "postgres";
import { isRunning, readPid } from "../processes/pids.ts";
import { choosePort } from "../processes/free-ports.ts";
import { canBeEntered, findPostgres, enterableFolder, postgresUser } from "./postgres-binaries.ts";
import type { PostgresBinaries, PostgresUser } from "./postgres-binaries.ts";
import { endBackendsOf } from "./postgres-orphans.ts";
import { runningChild, startProcess, stopOrphan, untilReady, type OwnService } from "../processes/child.ts";

/**
 * Starts Postgres and creates the database `synapse`.
 *
 * `dir` holds its log, the port of the last start and, when Postgres' user can enter `dir`, its data. Commits are
 * durable (fsync and synchronous_commit are on), so that this stack is not faster or less safe than a deployment.
 * @param port the wanted port; another is taken when it is not free. Absent: the port of the last start.
 * @param onlyPort for a restart, whose clients know the port: the start fails when this port is not free
 * @param settings replace those of this file, or are added to them
 * @param signal ends a start that is under way
 * @throws Error with the end of the log when Postgres does not start
 */
export async function startPostgres(options: {
  dir: string;
  port?: number;
  onlyPort?: number | undefined;
  settings?: Record<string, string>;
  signal?: AbortSignal;
}): Promise<OwnService> {
  const { dir } = options;
  mkdirSync(dir, { recursive: true });
  const user = postgresUser();
  const binaries = findPostgres(user);
  const data = dataFolder(dir, user);
  const run = { env: environment(), ...user };

  if (!existsSync(join(data, "PG_VERSION"))) initDatabase(binaries, data, run);
  checkVersion(binaries, data);
  const pidFile = join(data, "postmaster.pid");
  const orphan = readPid(pidFile);
  // SIGINT is Postgres' fast shutdown: it disconnects its clients and loses nothing.
  if (orphan !== null) await stopOrphan(orphan, "SIGINT", (command) => command.includes(data));
  await endBackendsOf(data);
  // Postgres refuses to start while the pid of a killed one exists, also after its end, if its parent has not waited for it.
  if (orphan !== null && !isRunning(orphan)) rmSync(pidFile, { force: true });

  const port = options.onlyPort ?? (await choosePort(join(dir, "port"), options.port));
  const args = [
    "-D",
    data,
    "-p",
    String(port),
    ...Object.entries({ ...settings, ...(binaries.major >= 18 && inlineReads), ...options.settings }).flatMap(
      ([name, value]) => ["-c", `${name}=${value}`],
    ),
  ];
  const log = join(dir, "postgres.log");
  const child = startProcess({ command: join(binaries.bin, "postgres"), args, ...run }, log, "SIGINT");
  const server = `postgres://postgres:synapse@127.0.0.1:${port}`; // no password is checked; drivers and Hyperdrive require one
  await untilReady(child, log, () => createDatabase(`${server}/postgres`, "synapse"), options.signal);
  return {
    url: `${server}/synapse`,
    port,
    ...runningChild(child, "SIGINT"),
  };
}

const settings = {
  listen_addresses: "127.0.0.1",
  unix_socket_directories: "",
  max_connections: "200",
  fsync: "on",
  synchronous_commit: "on",
  shared_buffers: "64MB", // the memory of each backend includes the shared pages that it has touched
  max_logical_replication_workers: "0", // without a subscription its launcher only holds memory
};

/** Postgres 18 starts three processes that read for the others: 25 MB, for reads that this server's cache answers. */
const inlineReads = { io_method: "sync" };

/** An environment with a fixed locale: the order of text must not depend on the machine, and LANG may name a locale that is missing. */
function environment(): NodeJS.ProcessEnv {
  const { LANG: _lang, ...rest } = process.env;
  return { ...rest, LC_ALL: "C", TZ: "UTC" };
}

/** `dir/data`; when Postgres' user cannot enter it, a folder outside that is the same at every start. */
function dataFolder(dir: string, user: PostgresUser): string {
  const inside = join(resolve(dir), "data");
  const digest = hash("sha256", inside).slice(0, 16);
  const data = user === null || canBeEntered(dir) ? inside : join(enterableFolder(), `data-${digest}`);
  mkdirSync(data, { recursive: true, mode: 0o700 });
  if (user !== null) chownSync(data, user.uid, user.gid);
  return data;
}

function initDatabase(
  { bin, major }: PostgresBinaries,
  data: string,
  run: { uid?: number; gid?: number },
): void {
  const builtinLocale = major >= 17 ? ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] : [];
  const args = [
    "-D",
    data,
    "-U",
    "postgres",
    "-A",
    "trust",
    "--encoding=UTF8",
    "--locale=C",
    ...builtinLocale,
  ];
  const initdb = spawnSync(join(bin, "initdb"), [...args, "--no-sync", "--no-instructions"], {
    ...run,
    cwd: "/",
    encoding: "utf8",
  });
  if (initdb.status !== 0) throw new Error(`initdb failed: ${initdb.stderr}`, { cause: initdb.error });
}

function checkVersion({ bin, major }: PostgresBinaries, data: string): void {
  const dataMajor = Number(readFileSync(join(data, "PG_VERSION"), "utf8"));
  if (dataMajor !== major) {
    throw new Error(
      `${data} was created by Postgres ${dataMajor}; ${dirname(bin)} is version ${major}. Install version ${dataMajor}, or remove the folder.`,
    );
  }
}

/** Creates the database unless it exists. @param url any database of the server */
async function createDatabase(url: string, name: string): Promise<void> {
  const sql = postgres(url, { max: 1, connect_timeout: 5, onnotice: () => {} });
  try {
    const [found] = await sql`select 1 from pg_database where datname = ${name}`;
    if (!found) await sql`create database ${sql(name)}`;
  } finally {
    await sql.end({ timeout: 1 });
  }
}
