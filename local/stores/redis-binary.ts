/** Finds a Redis: on PATH, in this stack's cache, in Debian's packages, or in Docker. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { cachedRedis, unpackDebianRedis } from "./redis-debian.ts";
import type { Command } from "../processes/child.ts";
import { isUsable, type RedisServer } from "./redis-server.ts";

/** A way to run Redis. `at`: the command that serves a port. */
export type RedisBinary = { at(port: number): Command };

/**
 * Returns the first of these that is version 7 or newer: `redis-server` or `valkey-server` on PATH and in the usual
 * folders; the one in this stack's cache; Debian's packages, unpacked into that cache without root; Docker with a
 * running engine.
 * @param dir the data folder of Redis
 * @throws Error with commands that install Redis, when there is none
 */
export async function findRedis(dir: string): Promise<RedisBinary> {
  const server = onPath() ?? cachedRedis();
  if (server !== null) return native(server, dir);
  let reason: string;
  try {
    return native(unpackDebianRedis(), dir);
  } catch (error) {
    reason = error instanceof Error ? error.message : String(error);
  }
  if (spawnSync("docker", ["info"], { stdio: "ignore", timeout: 10_000 }).status === 0) return docker(dir);
  throw new Error(notFoundMessage(reason));
}

function onPath(): RedisServer | null {
  const folders = [
    ...(process.env.PATH ?? "").split(delimiter),
    "/opt/homebrew/bin",
    "/usr/local/bin",
    "/usr/bin",
  ];
  const names = ["redis-server", "valkey-server"];
  const commands = folders.flatMap((folder) => names.map((name) => join(folder, name))).filter(isExecutable);
  return commands.map((command) => ({ command, env: {} })).find(isUsable) ?? null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function native({ command, env }: RedisServer, dir: string): RedisBinary {
  const at = (port: number): Command => ({
    command,
    args: ["--bind", "127.0.0.1", "--port", String(port), "--dir", dir],
    env,
  });
  return { at };
}

/** Runs Redis in Docker. The image may have to be downloaded first, for which the limit of a start is long enough. */
function docker(dir: string): RedisBinary {
  const args = (port: number): string[] => [
    "run",
    "--rm",
    "-p",
    `127.0.0.1:${port}:6379`,
    "-v",
    `${dir}:/data`,
    "redis:7",
    "redis-server",
  ];
  return { at: (port) => ({ command: "docker", args: args(port), env: {} }) };
}

function notFoundMessage(reason: string): string {
  return `No Redis found. Version 7.0 or newer is needed. Do one of these, then run the same command again:
  macOS           brew install redis
  Debian/Ubuntu   sudo apt-get install redis-server    (automatic download failed: ${reason})
  Fedora          sudo dnf install valkey
  Docker          docker run -d -p 6379:6379 redis:7    and  export REDIS_URL=redis://127.0.0.1:6379
  Any             export REDIS_URL=redis://user:pass@host:6379`;
}
