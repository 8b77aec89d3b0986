import { Worker } from "node:worker_threads";
import { z } from "zod";

/** Threads of a process. A program that uses up its time delays other programs, but never the worker's beats. */
const THREADS = 2;
/** The time beyond a program's own limit in which a thread may start and report. Then the thread is terminated, even in a loop. */
const GRACE_MS = 5_000;

/** `state` is JSON text. */
export type Program = { code: "expression" | "transform"; source: string; state: string; limitMs: number };
const ProgramResult = z.union([
  z.object({ json: z.string() }),
  z.object({ failed: z.enum(["time", "memory", "size", "value", "error"]), message: z.string() }),
]);
/** `json` is text that the program may have written itself: the caller must parse it. */
export type ProgramResult = z.infer<typeof ProgramResult>;

type QueuedProgram = { program: Program; resolve(result: ProgramResult): void; reject(error: Error): void };
type BusyThread = { worker: Worker; queued: QueuedProgram; timer: NodeJS.Timeout };

/**
 * Runs programs in threads, in the order of `run`, each thread one program at a time. A thread that exceeds its limit,
 * fails, or ran out of memory is terminated, and a new one takes its place.
 */
export class SandboxPool {
  // Not piscina (5.3.2, tried): 24 lines less, but its time limit counts from the submit, so that a queue of our own
  // remains, and it cannot replace a thread after a task that ran out of memory.
  readonly #queue: QueuedProgram[] = [];
  readonly #idle: Worker[] = [];
  readonly #busy = new Set<BusyThread>();
  #closed = false;

  /** A failure of the program is a result. @throws Error when the pool is closed */
  run(program: Program): Promise<ProgramResult> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Error("the sandbox is closed"));
      this.#queue.push({ program, resolve, reject });
      this.#startQueued();
    });
  }

  /** Terminates all threads, also those that run a program. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const queued of this.#queue.splice(0)) queued.reject(new Error("the sandbox is closed"));
    for (const thread of this.#busy) {
      this.#end(thread, { failed: "error", message: "the sandbox is closed" }, { reuse: false });
    }
    await Promise.all(this.#idle.splice(0).map((worker) => worker.terminate()));
  }

  #startQueued(): void {
    while (this.#queue.length > 0 && this.#busy.size < THREADS) {
      const queued = this.#queue.shift();
      if (queued !== undefined) this.#start(queued);
    }
  }

  #start(queued: QueuedProgram): void {
    const worker = this.#idle.pop() ?? new Worker(new URL("./sandbox-thread.ts", import.meta.url));
    // A busy thread keeps the process alive; an idle one does not.
    worker.ref();
    const timer = setTimeout(
      () => this.#end(thread, { failed: "time", message: "" }, { reuse: false }),
      queued.program.limitMs + GRACE_MS,
    );
    const thread: BusyThread = { worker, queued, timer };
    this.#busy.add(thread);
    worker.once("message", (message: unknown) => {
      const result = ProgramResult.parse(message);
      // A thread whose heap was full runs no other tenant's program.
      const reuse = !("failed" in result && result.failed === "memory");
      this.#end(thread, result, { reuse });
    });
    worker.once("error", (error) =>
      this.#end(thread, { failed: "error", message: String(error) }, { reuse: false }),
    );
    worker.postMessage(queued.program);
  }

  #end(thread: BusyThread, result: ProgramResult, { reuse }: { reuse: boolean }): void {
    if (!this.#busy.delete(thread)) return;
    const { worker, queued, timer } = thread;
    clearTimeout(timer);
    worker.removeAllListeners("message");
    worker.removeAllListeners("error");
    if (reuse && !this.#closed) {
      worker.unref();
      this.#idle.push(worker);
    } else void worker.terminate();
    queued.resolve(result);
    this.#startQueued();
  }
}
