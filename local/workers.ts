/** The workers of this machine. One that dies comes back, as another incarnation. */
import { z } from "zod";
import { keepAlive } from "./processes/keep-alive.ts";
import { firstFreePort } from "./processes/ports.ts";
import { nodeProgram, startUntilEvent } from "./processes/programs.ts";

const Ready = z.looseObject({ models: z.string(), health_port: z.int() });

/** Milliseconds. */
const readyTimeoutMs = 30_000;
const PORT_TRIES = 5;

export type Worker = { name: string; pid: number | null; health_url: string };
type Member = { name: string; port: number };
export type Fleet = { models: string; workers(): Worker[]; stop(): Promise<void> };

/**
 * Starts `count` workers; they are ready when this resolves.
 * @param env what every worker is told; its name and its health port come from here.
 * @param changed called when a worker has come back.
 * @throws Error of a worker that did not start; the others are stopped then.
 */
export async function startFleet(count: number, env: NodeJS.ProcessEnv, changed: () => void): Promise<Fleet> {
  const starts = await Promise.allSettled(
    (await membersOf(count)).map(async ({ name, port }) => {
      const start = (signal: AbortSignal) => startWorker(name, port, env, signal);
      return { name, kept: await keepAlive(name, start, changed) };
    }),
  );
  const members = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
  const stop = async (): Promise<void> => {
    await Promise.all(members.map(({ kept }) => kept.stop()));
  };
  const failed = starts.find((start) => start.status === "rejected");
  if (failed) {
    await stop();
    throw failed.reason;
  }
  const said = members[0]?.kept.now().said;
  return {
    models: Ready.parse(said).models,
    workers: () =>
      members.map(({ name, kept }) => {
        const worker = kept.now();
        const { health_port } = Ready.parse(worker.said);
        return { name, pid: worker.pid, health_url: `http://127.0.0.1:${health_port}/health` };
      }),
    stop,
  };
}

/** A worker on `port`, or on the next one that is free: between the look and the start another may take it. */
async function startWorker(name: string, port: number, env: NodeJS.ProcessEnv, signal: AbortSignal) {
  for (let tries = 1; ; tries++) {
    const free = await firstFreePort(port);
    const own = { WORKER_ID: name, WORKER_HEALTH_PORT: String(free) };
    const command = nodeProgram("worker-node/main.ts", { ...env, ...own });
    try {
      return await startUntilEvent("worker.ready", readyTimeoutMs, name, command, signal);
    } catch (error) {
      const wasTaken = (await firstFreePort(free)) !== free;
      if (!wasTaken || tries === PORT_TRIES || signal.aborted) throw error;
    }
  }
}

/** Each with a health port of its own, from 9000 on. */
async function membersOf(count: number): Promise<Member[]> {
  const members: Member[] = [];
  for (let number = 1, port = 9000; number <= count; number++, port++) {
    port = await firstFreePort(port);
    members.push({ name: `worker-${number}`, port });
  }
  return members;
}
