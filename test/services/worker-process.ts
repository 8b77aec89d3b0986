/** A worker as it runs in production: a process of its own, which a test follows by its log. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { within } from "./waiting.ts";

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

/** The durations of a worker: those of `shared/timing.ts`, or of a module in `timing/`. All workers of a test have the same. */
export type Timing = "real" | "short" | "long";

/** The arguments of a Node process that runs a worker's sources. Most tests run `builtWorker(timing)` instead, which starts faster. */
export function workerSources(timing: Timing): string[] {
  const flags = ["--experimental-import-text", "--disable-warning=ExperimentalWarning"];
  return [...flags, ...flagsOf(timing), "worker-node/main.ts"];
}

/** @param program the arguments of the worker's Node process */
export function spawnWorker(
  id: string,
  env: Record<string, string>,
  program = workerSources("real"),
): WorkerProcess {
  const child = spawn(process.execPath, program, {
    cwd: new URL("../..", import.meta.url),
    env: {
      PATH: process.env.PATH,
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      WORKER_ID: id,
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
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
      const { promise, resolve } = Promise.withResolvers<LogLine>();
      const logged = () => lines.map((line) => JSON.stringify(line)).join("\n");
      const listener = (): void => {
        const line = find();
        if (line) resolve(line);
      };
      listeners.add(listener);
      listener();
      try {
        return await within(ms, promise, () => `${id} logs ${event}:\n${logged()}`);
      } finally {
        listeners.delete(listener);
      }
    },
    async stop(signal = "SIGTERM") {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      return ended;
    },
  };
}

/** The flags of a Node process that has these durations. */
function flagsOf(timing: Timing): string[] {
  if (timing === "real") return [];
  return ["--import", new URL(`timing/with-timing.ts?${timing}`, import.meta.url).href];
}

/** The module that replaces `shared/timing.ts`. */
export function timingFile(timing: Exclude<Timing, "real">): string {
  return join(import.meta.dirname, `timing/${timing}.ts`);
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
