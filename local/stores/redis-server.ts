/** A Redis server program on this machine. */
import { spawnSync } from "node:child_process";

/** `env` is added to this process's environment. */
export type RedisServer = { command: string; env: NodeJS.ProcessEnv };

/** The commands that were found usable: the check, which runs the command, is made once for each. */
const usable = new Set<string>();

/** Whether this server runs on this machine and is version 7 or newer. */
export function isUsable({ command, env }: RedisServer): boolean {
  if (usable.has(command)) return true;
  const version = spawnSync(command, ["--version"], {
    env: { ...process.env, ...env },
    encoding: "utf8",
    timeout: 5_000,
  });
  if (version.status !== 0 || !(Number(/ v=(\d+)/.exec(version.stdout)?.[1]) >= 7)) return false;
  usable.add(command);
  return true;
}
