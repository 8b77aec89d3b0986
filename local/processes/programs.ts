/** Our own Node programs as children: their log lines with a prefix, their events as promises. */
import type { ChildProcess } from "node:child_process";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { living, startProcess, type Command, type Living } from "./child.ts";

export const projectFolder = resolve(import.meta.dirname, "../..");

const LogEvent = z.looseObject({ event: z.string() });
export type LogEvent = z.infer<typeof LogEvent>;

export type Program = Living & { child: ChildProcess };

/** A file of this project, run by the Node that runs us. `env` comes on top of ours. */
export function nodeProgram(file: string, env: NodeJS.ProcessEnv = {}): Command {
  const flags = ["--experimental-import-text", "--disable-warning=ExperimentalWarning"];
  return {
    command: process.execPath,
    args: [...flags, join(projectFolder, file)],
    env: { ...process.env, ...env },
    cwd: projectFolder,
  };
}

/** Starts a program; every line it writes goes to our output as `name | line`, and to `onLine`. */
export function startProgram(
  name: string,
  command: Command,
  onLine: (line: string) => void = () => {},
): Program {
  const child = startProcess(command, null, "SIGTERM");
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
  return { child, ...living(child, "SIGTERM") };
}

/**
 * Starts a program and waits for its log event `event` (a line of JSON).
 * @returns the program and the event with its fields.
 * @throws Error when it ends before, says nothing for `timeoutMs`, or at `signal`; it has ended then.
 */
export async function startUntilEvent(
  event: string,
  timeoutMs: number,
  name: string,
  command: Command,
  signal?: AbortSignal,
): Promise<Program & { said: LogEvent }> {
  const { promise, resolve: hear, reject } = Promise.withResolvers<LogEvent>();
  const program = startProgram(name, command, (line) => {
    const said = readEvent(line);
    if (said?.event === event) hear(said);
  });
  program.child.once("error", reject);
  program.child.once("exit", (code, endedBy) =>
    reject(new Error(`${name} ended (${endedBy ?? code}) before it was ready`)),
  );
  const abandon = (): void => reject(new Error(`${name} is no longer wanted`));
  signal?.addEventListener("abort", abandon, { once: true });
  const late = setTimeout(
    () => reject(new Error(`${name} was not ready within ${timeoutMs / 1000} s`)),
    timeoutMs,
  );
  try {
    return { ...program, said: await promise };
  } catch (error) {
    await program.stop();
    throw error;
  } finally {
    clearTimeout(late);
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
