/** Which Redis to run: one on PATH, one we unpacked before, one out of Debian's packages, one in Docker. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { cachedRedis, unpackDebianRedis } from "./redis-debian.ts";
import type { Command } from "../processes/child.ts";
import { isUsable, type RedisServer } from "./redis-server.ts";

/** A way to run Redis: the command for a port, and how long it may take until it answers. */
export type RedisBinary = { at(port: number): Command; startTimeoutMs: number };

/**
 * The first of these that is version 7 or newer: `redis-server` or `valkey-server` on PATH and in the usual folders, the
 * one in our cache, Debian's packages unpacked into that cache without root, Docker with a live engine.
 * @param dir where Redis keeps its data.
 * @throws Error that says what to type when there is none.
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
  throw new Error(nothingFound(reason));
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
  return { at, startTimeoutMs: 10_000 };
}

/** The image may have to be fetched first, hence the long wait. */
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
  return { at: (port) => ({ command: "docker", args: args(port), env: {} }), startTimeoutMs: 120_000 };
}

function nothingFound(reason: string): string {
  return `No Redis found. One is needed (7.0 or newer). Any of these, then run the same command again:
  macOS           brew install redis
  Debian/Ubuntu   sudo apt-get install redis-server    (automatic download failed: ${reason})
  Fedora          sudo dnf install valkey
  Docker          docker run -d -p 6379:6379 redis:7    and  export REDIS_URL=redis://127.0.0.1:6379
  Any             export REDIS_URL=redis://user:pass@host:6379`;
}
