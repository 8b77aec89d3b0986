/**
 * Unpacks Redis from Debian's packages into the user's cache: without root, without an installation, without a
 * service.
 *
 * apt checks the signatures. The server is the program `redis-check-rdb` of the package redis-tools, which becomes
 * a server when it is called `redis-server`. The package `redis-server` holds only unit files (installing it would
 * start a daemon at every boot).
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { isUsable, type RedisServer } from "./redis-server.ts";

/** The Redis that an earlier start unpacked into the cache; null: there is none that runs. */
export function cachedRedis(): RedisServer | null {
  const server = serverIn(cacheFolder());
  return existsSync(server.command) && isUsable(server) ? server : null;
}

/**
 * Downloads and unpacks Redis (about 5 s, once per user).
 * @throws Error that says what is missing
 */
export function unpackDebianRedis(): RedisServer {
  if (!["apt-get", "apt-cache", "dpkg-deb"].every((tool) => spawnSync(tool, ["--version"]).status === 0)) {
    throw new Error("this machine is not Debian or Ubuntu");
  }
  console.error("No Redis on this machine: unpacking Debian's into the cache (once, without root) …");
  mkdirSync(join(cacheFolder(), ".."), { recursive: true });
  const unfinished = mkdtempSync(`${cacheFolder()}.`);
  try {
    unpackInto(unfinished);
    rmSync(cacheFolder(), { recursive: true, force: true });
    renameSync(unfinished, cacheFolder());
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  const server = serverIn(cacheFolder());
  if (!isUsable(server)) throw new Error(unusableReason(server));
  return server;
}

function unpackInto(folder: string): void {
  for (const part of ["lists/partial", "cache/archives/partial", "root"])
    mkdirSync(join(folder, part), { recursive: true });
  run(folder, "apt-get", ["update"]);
  run(folder, "apt-get", ["download", "redis-tools", ...missingLibraries(folder)]);
  for (const name of readdirSync(folder).filter((file) => file.endsWith(".deb"))) {
    run(folder, "dpkg-deb", ["-x", name, "root"]);
    rmSync(join(folder, name));
  }
  for (const part of ["lists", "cache"]) rmSync(join(folder, part), { recursive: true });
  copyFileSync(join(folder, "root/usr/bin/redis-check-rdb"), join(folder, "root/usr/bin/redis-server"));
}

/** The libraries that redis-tools depends on and that the machine lacks; they differ between releases. */
function missingLibraries(folder: string): string[] {
  const only = [
    "--recurse",
    "--no-recommends",
    "--no-suggests",
    "--no-conflicts",
    "--no-breaks",
    "--no-replaces",
    "--no-enhances",
  ];
  const names = run(folder, "apt-cache", ["depends", ...only, "redis-tools"])
    .split("\n")
    .filter((line) => /^[a-z0-9]/.test(line));
  const status = spawnSync("dpkg-query", ["-W", "-f", "${Package} ${db:Status-Status}\n"], {
    encoding: "utf8",
  }).stdout;
  const installed = new Set(
    status
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return names
    .map((name) => name.replace(/:.*/, ""))
    .filter((name) => name.startsWith("lib") && !installed.has(name));
}

/** Runs a tool and returns its output. @throws Error with the last line of its errors when it fails or takes more than two minutes */
function run(folder: string, command: string, args: string[]): string {
  const aptSettings = [
    `Dir::State::lists=${folder}/lists`,
    `Dir::Cache=${folder}/cache`,
    "Dir::State::status=/var/lib/dpkg/status",
    "Debug::NoLocking=1",
    "APT::Sandbox::User=",
  ].flatMap((setting) => ["-o", setting]);
  const options = command === "dpkg-deb" ? [] : aptSettings;
  const result = spawnSync(command, [...options, ...args], {
    cwd: folder,
    encoding: "utf8",
    timeout: 120_000,
  });
  if (result.status === 0) return result.stdout;
  throw new Error(
    `${command} ${args[0]}: ${result.error?.message ?? result.stderr.trim().split("\n").at(-1)}`,
  );
}

function unusableReason({ command, env }: RedisServer): string {
  const ldd = spawnSync("ldd", [command], { env: { ...process.env, ...env }, encoding: "utf8" }).stdout ?? "";
  const missing = ldd
    .split("\n")
    .filter((line) => line.includes("not found"))
    .map((line) => line.trim().split(" ")[0]);
  return missing.length > 0
    ? `libraries are missing: ${missing.join(", ")}`
    : "the packaged Redis does not run, or is older than version 7";
}

function serverIn(folder: string): RedisServer {
  const lib = join(folder, "root/usr/lib");
  const libraries = existsSync(lib)
    ? readdirSync(lib)
        .filter((name) => name.includes("-linux-"))
        .map((name) => join(lib, name))
    : [];
  return {
    command: join(folder, "root/usr/bin/redis-server"),
    env: { LD_LIBRARY_PATH: libraries.join(":") },
  };
}

function cacheFolder(): string {
  const home = process.env.HOME || homeOfUser();
  return join(process.env.XDG_CACHE_HOME || join(home, ".cache"), "synapse-edge", "redis-debian");
}

function homeOfUser(): string {
  try {
    return userInfo().homedir;
  } catch {
    return tmpdir(); // a user id without an entry in passwd, as in some containers
  }
}
