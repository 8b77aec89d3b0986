/** A worker as it runs in production: a process of its own, which a test follows by its log. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { z } from "zod";

const Line = z.object({ event: z.string() }).loose();
export type LogLine = z.infer<typeof Line>;

export type WorkerProcess = {
  id: string;
  process: ChildProcess;
  pid: number;
  lines: LogLine[];
  /** Waits until the worker has logged this event in a line that `matches`. */
  untilLogged(event: string, matches?: (line: LogLine) => boolean, ms?: number): Promise<LogLine>;
  stop(signal?: NodeJS.Signals): Promise<number | null>;
};

export function spawnWorker(id: string, env: Record<string, string>): WorkerProcess {
  const child = spawn(
    process.execPath,
    ["--experimental-import-text", "--disable-warning=ExperimentalWarning", "worker-node/main.ts"],
    {
      cwd: new URL("../..", import.meta.url),
      env: { PATH: process.env.PATH, WORKER_ID: id, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const lines: LogLine[] = [];
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (text) => {
      const line = Line.safeParse(parseLine(text));
      lines.push(line.success ? line.data : { event: "text", text });
      for (const listener of listeners) listener();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  return {
    id,
    process: child,
    pid: child.pid ?? 0,
    lines,
    async untilLogged(event, matches = () => true, ms = 60_000) {
      const find = () => lines.find((line) => line.event === event && matches(line));
      const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
      const timer = setTimeout(
        () =>
          reject(
            new Error(`${id} has not logged ${event}:\n${lines.map((l) => JSON.stringify(l)).join("\n")}`),
          ),
        ms,
      );
      const listener = (): void => {
        const line = find();
        if (line) resolve(line);
      };
      listeners.add(listener);
      listener();
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
        listeners.delete(listener);
      }
    },
    async stop(signal = "SIGTERM") {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      return ended;
    },
  };
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
