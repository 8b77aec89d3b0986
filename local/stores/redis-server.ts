/** A Redis server that lies on this machine. */
import { spawnSync } from "node:child_process";

/** `env` is what it needs on top of ours. */
export type RedisServer = { command: string; env: NodeJS.ProcessEnv };

/** Whether this server runs here and is new enough. */
export function isUsable({ command, env }: RedisServer): boolean {
  const said = spawnSync(command, ["--version"], {
    env: { ...process.env, ...env },
    encoding: "utf8",
    timeout: 5_000,
  });
  return said.status === 0 && Number(/ v=(\d+)/.exec(said.stdout)?.[1]) >= 7;
}
