/**
 * The project's own Node programs as child processes: their log lines get a prefix, their log events become
 * promises.
 */
import type { ChildProcess } from "node:child_process";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { runningChild, startProcess, type Command, type RunningChild } from "./child.ts";
import { noticeWait, startLimitMs, tooLate } from "./start-limit.ts";

export const projectFolder = resolve(import.meta.dirname, "../..");

/** The folder of the built programs. */
export const programsFolder = join(projectFolder, "node_modules/.cache/programs");

/** The source of each built program, and its file in `programsFolder`. */
export const builtPrograms = {
  "local/run.ts": "main.mjs",
  "worker-node/main.ts": "worker.mjs",
  "worker-node/redis-rest/main.ts": "redis-rest.mjs",
  "worker-node/engine/sandbox-thread.ts": "sandbox-thread.mjs",
  "worker-node/tools/sql/sql-process.ts": "sql-process.mjs",
};

const LogEvent = z.looseObject({ event: z.string() });
export type LogEvent = z.infer<typeof LogEvent>;

/** A program that was started. */
export type Program = RunningChild & { child: ChildProcess };

/**
 * The command that runs a source file of this project with this process's Node.
 * @param env added to this process's environment
 */
export function nodeProgram(file: string, env: NodeJS.ProcessEnv = {}): Command {
  const flags = ["--experimental-import-text", "--disable-warning=ExperimentalWarning"];
  return {
    command: process.execPath,
    args: [...flags, join(projectFolder, file)],
    env: { ...process.env, ...env },
    cwd: projectFolder,
  };
}

/**
 * The flags of Node for a built program.
 *
 * V8's young generation has 24 MB instead of 48, because a heap that grew under load stays large; a worker has 48. Each of its collections
 * copies what the runs in flight hold, so half as many collections take a tenth of the processor time of a full worker away. An idle
 * worker has the same memory with both, a busy one 40 MB more (docs/performance.md, "Throughput").
 *
 * With `--expose-gc` a program frees what only its start needed (worker-node/ops/free-start-memory.ts).
 */
export function builtProgramFlags(file: keyof typeof builtPrograms): string[] {
  const semiSpaceMb = file === "worker-node/main.ts" ? 16 : 8;
  return [
    "--enable-source-maps",
    `--max-semi-space-size=${semiSpaceMb}`,
    "--expose-gc",
    "--disable-warning=ExperimentalWarning",
  ];
}

/**
 * The command that runs a built program (local/programs/build.ts).
 * @param file the source of the program
 * @param env added to this process's environment
 */
export function builtProgram(file: keyof typeof builtPrograms, env: NodeJS.ProcessEnv = {}): Command {
  return {
    command: process.execPath,
    args: [...builtProgramFlags(file), join(programsFolder, builtPrograms[file])],
    env: { ...process.env, ...env },
    cwd: projectFolder,
  };
}

/**
 * Starts a program. Every line of its output is written to this process's output as `name | line`, and passed to
 * `onLine`.
 */
export function startProgram(
  name: string,
  command: Command,
  onLine: (line: string) => void = () => {},
): Program {
  const { stopSignal = "SIGTERM" } = command;
  const child = startProcess(command, null, stopSignal);
  for (const [from, to] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ] as const) {
    if (from === null) continue;
    createInterface({ input: from }).on("line", (line) => {
      to.write(`${name} | ${line}\n`);
      onLine(line);
    });
  }
  return { child, ...runningChild(child, stopSignal) };
}

/**
 * Starts a program and waits for its log event `eventName` (a line of JSON).
 * @param fields values that fields of the event must have: a program may log several events of one name
 * @returns the program and that event with its fields
 * @throws Error when the program ends before the event, when the event does not come within `startLimitMs`, or when `signal` aborts;
 *   the program has ended then
 */
export async function startUntilEvent(
  eventName: string,
  name: string,
  command: Command,
  signal?: AbortSignal,
  fields: Record<string, string> = {},
): Promise<Program & { event: LogEvent }> {
  const { promise, resolve: resolveEvent, reject } = Promise.withResolvers<LogEvent>();
  const program = startProgram(name, command, (line) => {
    const event = readEvent(line);
    const isExpected =
      event?.event === eventName && Object.entries(fields).every(([key, value]) => event[key] === value);
    if (isExpected) resolveEvent(event);
  });
  program.child.once("error", reject);
  program.child.once("exit", (code, endedBy) =>
    reject(new Error(`${name} ended (${endedBy ?? code}) before it was ready`)),
  );
  const abandon = (): void => reject(new Error(`the start of ${name} was abandoned`));
  signal?.addEventListener("abort", abandon, { once: true });
  const what = `${name} to start (its log event ${eventName})`;
  const endNotice = noticeWait(what);
  const timer = setTimeout(() => reject(tooLate(what)), startLimitMs);
  try {
    return { ...program, event: await promise };
  } catch (error) {
    await program.stop();
    throw error;
  } finally {
    clearTimeout(timer);
    endNotice();
    signal?.removeEventListener("abort", abandon);
  }
}

function readEvent(line: string): LogEvent | null {
  if (!line.startsWith("{")) return null;
  try {
    return LogEvent.safeParse(JSON.parse(line)).data ?? null;
  } catch {
    return null;
  }
}
