/**
 * Child processes that never outlive us.
 *
 * A child gets its own process group, so that Ctrl-C reaches us alone and we end things in order. What ends it when we
 * are killed with -9 is a guard: a shell that waits for the end of a pipe that only we hold open.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { commandLineOf, isRunning } from "./pids.ts";

export type Command = {
  command: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  /** Default "/": another user may not be able to enter our own. */
  cwd?: string;
  uid?: number;
  gid?: number;
};

/** A child of ours. `ended` resolves at its end, whoever caused it; `stop` ends it and waits for that. */
export type Living = { pid: number | null; ended: Promise<void>; stop(): Promise<void> };

/** Something that listens and can be stopped. */
export type Service = { url: string; port: number; pid: number | null; stop(): Promise<void> };

/** A service that is a child of ours. */
export type OwnService = Service & Living;

/** Milliseconds between a polite signal and SIGKILL. */
const graceMs = 4_000;

// $1 the child, $2 the polite signal. The kill -0 loop ends after `graceMs`.
const guardScript = `trap '' INT TERM HUP; read -r _; kill -"$2" "$1"; i=0
while kill -0 "$1" && [ $i -lt ${graceMs / 100} ]; do sleep 0.1; i=$((i+1)); done; kill -s KILL -- -"$1"`;

/**
 * Starts a command.
 * @param logFile where its output is appended; null: to the caller, through pipes.
 * @param signal what asks it to end.
 */
export function startProcess(start: Command, logFile: string | null, signal: NodeJS.Signals): ChildProcess {
  const { command, args, ...options } = start;
  const out = logFile === null ? "pipe" : openSync(logFile, "a", 0o600);
  const child = spawn(command, args, { cwd: "/", ...options, detached: true, stdio: ["ignore", out, out] });
  if (typeof out === "number") closeSync(out);
  if (child.pid !== undefined) guard(child, child.pid, signal);
  return child;
}

function guard(child: ChildProcess, pid: number, signal: NodeJS.Signals): void {
  const watcher = spawn("/bin/sh", ["-c", guardScript, "guard", String(pid), signal.slice("SIG".length)], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  watcher.unref();
  child.once("exit", () => {
    // Dismissed at once: after the child's end its pid may soon be another's.
    watcher.kill("SIGKILL");
    killGroup(pid);
  });
}

/** What a child that was killed left behind: it led a group of its own. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // the usual case: nobody was left
  }
}

/** Ends a child and waits for it: the signal, then SIGKILL after the grace. Does nothing when it has ended already. */
export async function stopProcess(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (hasEnded(child)) return;
  const ended = endOf(child);
  child.kill(signal);
  const late = setTimeout(() => child.kill("SIGKILL"), graceMs);
  await ended;
  clearTimeout(late);
}

/** @param signal what asks it to end. */
export function living(child: ChildProcess, signal: NodeJS.Signals): Living {
  return { pid: child.pid ?? null, ended: endOf(child), stop: () => stopProcess(child, signal) };
}

/** Also a child that could not be started has ended. */
function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

function endOf(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return Promise.resolve();
  return new Promise((resolve) => child.once("exit", () => resolve()));
}

/**
 * Repeats `probe` every 25 ms until it resolves; gives up when the child ends, after `timeoutMs` or at `signal`.
 * @throws Error with the end of the log and the probe's last failure as its cause; the child has ended then.
 */
export async function untilReady(
  child: ChildProcess,
  logFile: string,
  timeoutMs: number,
  probe: () => Promise<unknown>,
  signal?: AbortSignal,
): Promise<void> {
  let failed: unknown;
  child.once("error", (error) => {
    failed = error;
  });
  for (const deadline = performance.now() + timeoutMs; performance.now() < deadline;) {
    if (hasEnded(child) || signal?.aborted) break;
    try {
      await probe();
      return;
    } catch (error) {
      failed = error;
      await sleep(25);
    }
  }
  await stopProcess(child, "SIGTERM");
  const log = readFileSync(logFile, "utf8").slice(-800);
  throw new Error(`${child.spawnfile} did not start. The end of ${logFile}:\n${log}`, { cause: failed });
}

/** Ends a process that an earlier, killed run left behind; `isOurs` looks at its command line, for pids are used again. */
export async function stopOrphan(
  pid: number,
  signal: NodeJS.Signals,
  isOurs: (commandLine: string) => boolean,
): Promise<void> {
  for (let waitedMs = 0; isRunning(pid) && isOurs(commandLineOf(pid)); waitedMs += 50) {
    if (waitedMs === 0) process.kill(pid, signal);
    if (waitedMs === graceMs) process.kill(pid, "SIGKILL");
    if (waitedMs > 2 * graceMs) throw new Error(`process ${pid} of an earlier run does not end`);
    await sleep(50);
  }
}
