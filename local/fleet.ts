/** The workers of this machine. One that dies comes back after a second, as it would in a fleet, as another incarnation. */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { firstFreePort } from "./ports.ts";
import { nodeProgram, startUntil, type Program } from "./programs.ts";

const Ready = z.looseObject({ models: z.string() });

/** Milliseconds. */
const readyTimeoutMs = 30_000;
const restartAfterMs = 1_000;

export type Worker = { name: string; pid: number | null; health_url: string };
type Member = { name: string; port: number; env: NodeJS.ProcessEnv; program: Program | null; models: string };
export type Fleet = { models: string; workers(): Worker[]; stop(): Promise<void> };

/**
 * Starts `count` workers; they are ready when this resolves.
 * @param env what every worker is told; its name and its health port come from here.
 * @param changed called when a worker has come back.
 */
export async function startFleet(count: number, env: NodeJS.ProcessEnv, changed: () => void): Promise<Fleet> {
  const stopping = new AbortController();
  const members: Member[] = [];
  for (let number = 1, port = 9000; number <= count; number++, port++) {
    port = await firstFreePort(port);
    const own = { WORKER_ID: `worker-${number}`, WORKER_HEALTH_PORT: String(port) };
    members.push({ name: `worker-${number}`, port, env: { ...env, ...own }, program: null, models: "" });
  }

  const start = async (member: Member): Promise<void> => {
    const command = nodeProgram("worker-node/main.ts", member.env);
    const program = await startUntil("worker.ready", readyTimeoutMs, member.name, command);
    member.program = program;
    member.models = Ready.parse(program.said).models;
    program.child.once("exit", () => void comeBack(member));
  };
  /** Ends with the stop of the fleet; until then it tries for as long as it takes. */
  const comeBack = async (member: Member): Promise<void> => {
    while (!stopping.signal.aborted) {
      console.error(`${member.name} has ended; it starts again in ${restartAfterMs / 1000} s`);
      await sleep(restartAfterMs);
      if (stopping.signal.aborted) return;
      try {
        await start(member);
        changed();
        return;
      } catch (error) {
        console.error(error instanceof Error ? error.message : String(error));
      }
    }
  };
  const stop = async (): Promise<void> => {
    stopping.abort();
    await Promise.all(members.map(async (member) => member.program?.stop()));
  };

  try {
    await Promise.all(members.map(start));
  } catch (error) {
    await stop();
    throw error;
  }
  return { models: members[0]?.models ?? "", workers: () => members.map(facts), stop };
}

function facts({ name, port, program }: Member): Worker {
  return { name, pid: program?.child.pid ?? null, health_url: `http://127.0.0.1:${port}/health` };
}
