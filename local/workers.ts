/** The workers of this machine. A worker that ends is restarted, as another incarnation. */
import { z } from "zod";
import { keepAlive } from "./processes/keep-alive.ts";
import { firstFreePort } from "./processes/free-ports.ts";
import { builtProgram, startUntilEvent } from "./processes/programs.ts";

const Ready = z.looseObject({ models: z.string(), health_port: z.int() });

const PORT_TRIES = 5;

export type Worker = { name: string; pid: number | null; health_url: string };
type Member = { name: string; port: number };
export type Fleet = { models: string; workers(): Worker[]; stop(): Promise<void> };

/**
 * Starts `count` workers. They are ready when this resolves.
 * @param env the variables of every worker, without its id and its health port
 * @param onRestart called after each restart of a worker
 * @throws the error of a worker that did not start; the others are stopped then
 */
export async function startFleet(
  count: number,
  env: NodeJS.ProcessEnv,
  onRestart: () => void,
): Promise<Fleet> {
  const starts = await Promise.allSettled(
    (await membersOf(count)).map(async ({ name, port }) => {
      const start = (signal: AbortSignal) => startWorker(name, port, env, signal);
      return { name, process: await keepAlive(name, start, onRestart) };
    }),
  );
  const members = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
  const stop = async (): Promise<void> => {
    await Promise.all(members.map(({ process }) => process.stop()));
  };
  const failed = starts.find((start) => start.status === "rejected");
  if (failed) {
    await stop();
    throw failed.reason;
  }
  return {
    models: Ready.parse(members[0]?.process.current().event).models,
    workers: () =>
      members.map(({ name, process }) => {
        const worker = process.current();
        const { health_port } = Ready.parse(worker.event);
        return { name, pid: worker.pid, health_url: `http://127.0.0.1:${health_port}/health` };
      }),
    stop,
  };
}

/** Starts a worker on the first free port from `port` on. It tries five ports, because another process may take one in between. */
async function startWorker(name: string, port: number, env: NodeJS.ProcessEnv, signal: AbortSignal) {
  for (let tries = 1; ; tries++) {
    const free = await firstFreePort(port);
    const own = { WORKER_ID: name, WORKER_HEALTH_PORT: String(free) };
    const command = builtProgram("worker-node/main.ts", { ...env, ...own });
    try {
      return await startUntilEvent("worker.ready", name, command, signal);
    } catch (error) {
      const wasTaken = (await firstFreePort(free)) !== free;
      if (!wasTaken || tries === PORT_TRIES || signal.aborted) throw error;
    }
  }
}

/** The workers' names, each with a free health port from 9000 on. */
async function membersOf(count: number): Promise<Member[]> {
  const members: Member[] = [];
  for (let number = 1, port = 9000; number <= count; number++, port++) {
    port = await firstFreePort(port);
    members.push({ name: `worker-${number}`, port });
  }
  return members;
}
