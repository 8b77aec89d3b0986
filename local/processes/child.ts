/**
 * Child processes that never outlive this process.
 *
 * A child has its own process group, so that Ctrl-C reaches only this process, which then ends its children in order. Each child
 * has a guard, which ends it when this process is killed with -9: a shell that waits for the end of a pipe from this process.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { commandLineOf, isRunning } from "./pids.ts";
import { noticeWait, startLimitMs } from "./start-limit.ts";

export type Command = {
  command: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  /** Default "/": the child's user may not be able to enter this process's folder. */
  cwd?: string;
  uid?: number;
  gid?: number;
  /** The signal that ends the program. Default: SIGTERM. */
  stopSignal?: NodeJS.Signals;
};

/** A child process. `pid` null: it could not be started. `ended` resolves at its end. `stop` ends it and waits for its end. */
export type RunningChild = { pid: number | null; ended: Promise<void>; stop(): Promise<void> };

/** A server that can be stopped. */
export type Service = { url: string; port: number; pid: number | null; stop(): Promise<void> };

/** A service that is a child process. */
export type OwnService = Service & RunningChild;

/** The time between the stop signal and SIGKILL. */
const graceMs = 4_000;

// $1: the child's pid. $2: the stop signal. The kill -0 loop ends after `graceMs`.
const guardScript = `trap '' INT TERM HUP; read -r _; kill -"$2" "$1"; i=0
while kill -0 "$1" && [ $i -lt ${graceMs / 100} ]; do sleep 0.1; i=$((i+1)); done; kill -s KILL -- -"$1"`;

/**
 * Starts a command.
 * @param logFile its output is appended to this file; null: the caller reads it through pipes
 * @param signal the stop signal
 */
export function startProcess(start: Command, logFile: string | null, signal: NodeJS.Signals): ChildProcess {
  const { command, args, stopSignal: _stopSignal, ...options } = start;
  const out = logFile === null ? "pipe" : openSync(logFile, "a", 0o600);
  const child = spawn(command, args, { cwd: "/", ...options, detached: true, stdio: ["ignore", out, out] });
  if (typeof out === "number") closeSync(out);
  if (child.pid !== undefined) guard(child, child.pid, signal);
  return child;
}

/** Starts the guard of a child. It ends with the child. */
function guard(child: ChildProcess, pid: number, signal: NodeJS.Signals): void {
  const watcher = spawn("/bin/sh", ["-c", guardScript, "guard", String(pid), signal.slice("SIG".length)], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  watcher.unref();
  child.once("exit", () => {
    // The guard is ended at once, because the child's pid may soon belong to another process.
    watcher.kill("SIGKILL");
    killGroup(pid);
  });
}

/** Ends the processes that a killed child left behind: the child led a process group. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The usual case: the group is empty.
  }
}

/** Ends a child and waits for its end: the signal, then SIGKILL after the grace. Does nothing when it has ended. */
export async function stopProcess(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (hasEnded(child)) return;
  const ended = endOf(child);
  child.kill(signal);
  const killTimer = setTimeout(() => child.kill("SIGKILL"), graceMs);
  await ended;
  clearTimeout(killTimer);
}

/** The handle of a child that was started. @param signal the stop signal */
export function runningChild(child: ChildProcess, signal: NodeJS.Signals): RunningChild {
  return { pid: child.pid ?? null, ended: endOf(child), stop: () => stopProcess(child, signal) };
}

/** Whether a child has ended. A child that could not be started counts as ended. */
function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

function endOf(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return Promise.resolve();
  return new Promise((resolve) => child.once("exit", () => resolve()));
}

/**
 * Repeats `probe` every 25 ms until it resolves. Gives up when the child ends, after `startLimitMs`, or when `signal` aborts.
 * @throws Error with the last 800 characters of the log, and the probe's last error as its cause; the child has ended then
 */
export async function untilReady(
  child: ChildProcess,
  logFile: string,
  probe: () => Promise<unknown>,
  signal?: AbortSignal,
): Promise<void> {
  let lastError: unknown;
  child.once("error", (error) => {
    lastError = error;
  });
  const endNotice = noticeWait(`${child.spawnfile} to answer`);
  try {
    for (const deadlineMs = performance.now() + startLimitMs; performance.now() < deadlineMs;) {
      if (hasEnded(child) || signal?.aborted) break;
      try {
        await probe();
        return;
      } catch (error) {
        lastError = error;
        await sleep(25);
      }
    }
  } finally {
    endNotice();
  }
  const why =
    hasEnded(child) || signal?.aborted ? "" : `: it did not answer within ${startLimitMs / 1_000} s`;
  await stopProcess(child, "SIGTERM");
  const log = readFileSync(logFile, "utf8").slice(-800);
  throw new Error(`${child.spawnfile} did not start${why}. The end of ${logFile}:\n${log}`, {
    cause: lastError,
  });
}

/**
 * Ends a process that an earlier, killed start left behind.
 * @param isOurs whether a command line is that of the process: another process may have its pid now
 * @throws Error when the process does not end within 8 s
 */
export async function stopOrphan(
  pid: number,
  signal: NodeJS.Signals,
  isOurs: (commandLine: string) => boolean,
): Promise<void> {
  for (let waitedMs = 0; isRunning(pid) && isOurs(commandLineOf(pid)); waitedMs += 50) {
    if (waitedMs === 0) process.kill(pid, signal);
    if (waitedMs === graceMs) process.kill(pid, "SIGKILL");
    if (waitedMs > 2 * graceMs) throw new Error(`process ${pid} of an earlier start does not end`);
    await sleep(50);
  }
}
