/** A program of this project as a child process. Its log is kept, and printed only with a failure. */
import { createInterface } from "node:readline";
import { z } from "zod";
import { startProcess, type Command } from "../../local/processes/child.ts";

const Line = z.looseObject({ event: z.string() });
export type Line = z.infer<typeof Line>;

const KEPT_LINES = 4_000;

export type Program = {
  name: string;
  pid: number;
  lines: string[];
  /** Resolves when the process has ended, with success or not. */
  ended: Promise<void>;
  hasEnded(): boolean;
  kill(signal: NodeJS.Signals): void;
};

/**
 * Starts `command` and waits until it logs an event with these fields.
 * @throws Error when the program ends before that, or takes longer than `timeoutMs`; it is killed then.
 */
export async function startProgram(
  name: string,
  command: Command,
  ready: Line & Record<string, string>,
  timeoutMs: number,
): Promise<{ program: Program; line: Line }> {
  const child = startProcess(command, null, "SIGTERM");
  const lines: string[] = [];
  const { promise: logged, resolve, reject } = Promise.withResolvers<Line>();
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on("line", (text) => {
      lines.push(text);
      if (lines.length > KEPT_LINES) lines.shift();
      if (!text.includes(ready.event)) return;
      const line = Line.safeParse(parseLine(text));
      const isReady = Object.entries(ready).every(([field, value]) => line.data?.[field] === value);
      if (line.success && isReady) resolve(line.data);
    });
  }
  const exited = new Promise<void>((done) => child.once("exit", () => done()));
  const program: Program = {
    name,
    pid: child.pid ?? 0,
    lines,
    ended: exited,
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    kill: (signal) => {
      if (!program.hasEnded()) child.kill(signal);
    },
  };
  void exited.then(() =>
    reject(new Error(`${name} ended before ${ready.event}:\n${lines.slice(-5).join("\n")}`)),
  );
  child.once("error", reject);
  const late = setTimeout(
    () => reject(new Error(`${name} has not logged ${ready.event} within ${timeoutMs} ms`)),
    timeoutMs,
  );
  try {
    return { program, line: await logged };
  } catch (error) {
    program.kill("SIGKILL");
    throw error;
  } finally {
    clearTimeout(late);
  }
}

/** Sends SIGTERM and waits; a program that has not ended within `graceMs` is killed. */
export async function endProgram(program: Program, graceMs = 4_000): Promise<void> {
  if (program.hasEnded()) return;
  program.kill("SIGCONT");
  program.kill("SIGTERM");
  const late = setTimeout(() => program.kill("SIGKILL"), graceMs);
  await program.ended;
  clearTimeout(late);
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
