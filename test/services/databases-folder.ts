/** Folders of a test run, and the settings of a Postgres with the databases of tests. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * The data of tests has to survive killed processes, and no crash of the machine: the kernel keeps what a process has written.
 * Commits that wait for a disk make tests wait, and a disk that other programs use makes them wait for seconds. Autovacuum would
 * visit each of the hundreds of small databases once a minute.
 */
export const postgresSettings = { fsync: "off", full_page_writes: "off", autovacuum: "off" };

/**
 * The databases are in memory where they fit. A copy of the template is about 650 files, and takes 40 ms of processor time there. In a
 * file system on a disk it takes 300 ms, and the hundreds of copies took a sixth of the processor time of all tests.
 */
const inMemory = "/dev/shm";
/** More than all databases of a run and their log take. */
const DATABASES_BYTES = 8 * 2 ** 30;
/** More than the processes of a run take beside them. */
const PROCESSES_BYTES = 4 * 2 ** 30;

type OwnFolder = { folder: string; remove(): void };

/** Makes the folder of the databases, whose files may hold gigabytes of memory. */
export function databasesFolder(): OwnFolder {
  return ownFolder(databasesFit(inMemory) ? inMemory : tmpdir());
}

/** Makes a folder that does not outlive this process, also when this process is killed. */
export function ownFolder(parent: string): OwnFolder {
  const folder = newFolder(parent);
  // The shell waits for the end of a pipe from this process, and then for the end of the servers.
  const script = `trap '' INT TERM HUP; read -r _; sleep 10; rm -rf -- "$1"`;
  const remover = spawn("/bin/sh", ["-c", script, "remover", folder], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  remover.unref();
  return {
    folder,
    remove() {
      rmSync(folder, { recursive: true, force: true });
      remover.kill("SIGKILL");
    },
  };
}

/** A new folder that other users can enter: under root another user runs Postgres. */
export function newFolder(parent: string): string {
  const folder = mkdtempSync(join(parent, "synapse-test-"));
  chmodSync(folder, 0o711);
  return folder;
}

function databasesFit(folder: string): boolean {
  if (!existsSync(folder)) return false;
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize > DATABASES_BYTES && process.availableMemory() > DATABASES_BYTES + PROCESSES_BYTES;
}
