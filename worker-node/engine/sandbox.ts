import { Worker } from "node:worker_threads";
import { z } from "zod";
import { JsonValue } from "../../shared/contracts/json.ts";
import { TerminalError } from "./errors.ts";
import { toJavaScript } from "./expression.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Sandbox } from "./ports.ts";

const EXPRESSION_MS = 1_000;
const TRANSFORM_MS = 5_000;
/** What a thread gets beyond the program's time to answer or to start; then it is ended, whatever it does. */
const GRACE_MS = 5_000;
/** Threads of a process: a program that uses up its time delays its own kind, never heartbeats. */
const THREADS = 2;

/** What the thread is asked, and what it answers. */
export type Program = { code: "expression" | "transform"; source: string; state: string; limitMs: number };
const Answer = z.union([
  z.object({ json: z.string() }),
  z.object({ failed: z.enum(["time", "memory", "size", "error"]), message: z.string() }),
]);
export type Answer = z.infer<typeof Answer>;

type Job = { program: Program; resolve(value: Json): void; reject(error: Error): void };
type Thread = { worker: Worker; job: Job; timer: NodeJS.Timeout };

/**
 * Expressions and programs of definitions, run by QuickJS (WebAssembly) in threads of their own: no network, no clock,
 * 32 MiB, 1 s for an expression and 5 s for a program, results of at most 1 MiB, and a fresh context for each. What
 * fails is a TerminalError `expression` or `transform`: the same code over the same state would fail again.
 */
export function createSandbox(): Sandbox & { close(): Promise<void> } {
  const waiting: Job[] = [];
  const idle: Worker[] = [];
  const busy = new Set<Thread>();
  let closed = false;

  const run = (code: Program["code"], source: string, state: JsonObject, limitMs: number): Promise<Json> =>
    new Promise((resolve, reject) => {
      if (closed) return reject(new Error("the sandbox is closed"));
      waiting.push({ program: { code, source, state: JSON.stringify(state), limitMs }, resolve, reject });
      startWaiting();
    });

  const startWaiting = (): void => {
    while (waiting.length > 0 && busy.size < THREADS) {
      const job = waiting.shift();
      if (job !== undefined) start(job);
    }
  };

  const start = (job: Job): void => {
    const worker = idle.pop() ?? new Worker(new URL("./sandbox-thread.ts", import.meta.url));
    // An idle thread must not keep the process alive; one that works must.
    worker.ref();
    const timer = setTimeout(
      () => end(thread, { failed: "time", message: "" }, true),
      job.program.limitMs + GRACE_MS,
    );
    const thread: Thread = { worker, job, timer };
    busy.add(thread);
    worker.once("message", (message: unknown) => {
      const answer = Answer.parse(message);
      // A heap that has been full once is not trusted with another tenant's program.
      end(thread, answer, "failed" in answer && answer.failed === "memory");
    });
    worker.once("error", (error) => end(thread, { failed: "error", message: String(error) }, true));
    worker.postMessage(job.program);
  };

  const end = (thread: Thread, answer: Answer, broken: boolean): void => {
    if (!busy.delete(thread)) return;
    clearTimeout(thread.timer);
    thread.worker.removeAllListeners("message");
    thread.worker.removeAllListeners("error");
    if (broken || closed) void thread.worker.terminate();
    else {
      thread.worker.unref();
      idle.push(thread.worker);
    }
    conclude(thread.job, answer);
    startWaiting();
  };

  return {
    evaluate: (expression, state) =>
      run("expression", `(${toJavaScript(expression)}\n)`, state, EXPRESSION_MS),
    transform: (code, state) => run("transform", code, state, TRANSFORM_MS),
    async close() {
      closed = true;
      for (const job of waiting.splice(0)) job.reject(new Error("the sandbox is closed"));
      for (const thread of busy) end(thread, { failed: "error", message: "the sandbox is closed" }, true);
      await Promise.all(idle.splice(0).map((worker) => worker.terminate()));
    },
  };
}

function conclude({ program, resolve, reject }: Job, answer: Answer): void {
  if ("failed" in answer) return reject(new TerminalError(program.code, sentence(answer, program)));
  const value = jsonOf(answer.json);
  if (value === undefined)
    reject(new TerminalError(program.code, "the result is not a JSON value at most 64 levels deep"));
  else resolve(value);
}

/** The program may have replaced JSON.stringify, so what it wrote is not trusted. */
function jsonOf(text: string): Json | undefined {
  try {
    return JsonValue.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function sentence(answer: Exclude<Answer, { json: string }>, program: Program): string {
  const what = program.code === "expression" ? "the expression" : "transform_code";
  switch (answer.failed) {
    case "time":
      return `${what} took longer than ${program.limitMs / 1_000} s`;
    case "memory":
      return `${what} used more memory than 32 MiB`;
    case "size":
      return `the result of ${what} is larger than 1 MiB`;
    case "error":
      return `${what} failed: ${answer.message}`;
  }
}
