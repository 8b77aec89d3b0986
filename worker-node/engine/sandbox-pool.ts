import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { LONG, READY, ThreadMessage } from "./sandbox-program.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import type { Program, ProgramEnd, ProgramResult } from "./sandbox-program.ts";
import { FairQueue } from "./fair-queue.ts";

/**
 * The threads of a process for each kind of code: all, and the most that one tenant may have at a time, so that the others stay free for
 * other tenants. Expressions, which take a moment, never wait for programs. A program that uses up its time delays other programs
 * of its tenant, but never the worker's beats.
 */
const THREADS = {
  expression: { all: 2, tenant: 1 },
  transform: { all: 3, tenant: 2 },
} as const;
/**
 * A tenant counts as one with long programs while one of them runs, and for this time after it. All these tenants together have half as
 * many threads of a kind as there are processors, and leave at least one thread to the others. So a tenant with short programs never waits for the
 * end of long ones, and endless programs do not take all processors.
 */
const LONG_FOR_MS = 60_000;
const LONG_THREADS = Math.max(1, Math.floor(availableParallelism() / 2));
/**
 * A thread ends a program itself at its limit of processor time, as soon as QuickJS lets it look. The pool looks from outside this often,
 * and terminates a thread whose program goes on beyond its limit. A program that waits for the processor of a busy machine goes on.
 */
const LOOK_MS = 2_000;
/** A thread can run programs this long after its start, also on a busy machine. */
const START_MS = 60_000;

/** The tenant of a program, and the signal that stops it: on a cancel, or when the worker drains. */
export type Caller = { tenant: string; signal: AbortSignal };

/**
 * A program with the state that it reads. The JSON text of the state is made when the program begins: a program that waits has none in
 * memory.
 */
export type SubmittedProgram = Omit<Program, "state"> & { state: JsonObject };

type QueuedProgram = {
  program: SubmittedProgram;
  caller: Caller;
  resolve(result: ProgramResult): void;
  reject(error: unknown): void;
};
type BusyThread = {
  worker: Worker;
  queued: QueuedProgram;
  timer: NodeJS.Timeout | undefined;
  /** Its program is long. */
  isLong: boolean;
};

/**
 * Runs programs in threads, each thread one program at a time; tenants take turns. A thread is terminated, and replaced by a new one,
 * when its program exceeds its limit, is cancelled or has used up the memory, and when the thread itself fails.
 */
export class SandboxPool {
  readonly #lookMs: number;
  // Not piscina (5.3.2, tried): 24 lines less, but its time limit counts from the submit, so a queue of our own would remain. And it
  // cannot replace a thread after a task that ran out of memory.
  readonly #queues = {
    expression: new FairQueue<QueuedProgram>(),
    transform: new FairQueue<QueuedProgram>(),
  };
  readonly #idle: Worker[] = [];
  readonly #busy = new Set<BusyThread>();
  /** Tenants whose long program has ended, the latest last, and until when that counts. */
  readonly #long = new Map<string, number>();
  #closed = false;

  /** @param options.lookMs how often the pool looks at the processor time of a program, in milliseconds; tests look more often */
  constructor({ lookMs = LOOK_MS }: { lookMs?: number | undefined } = {}) {
    this.#lookMs = lookMs;
  }

  /**
   * Runs a program when its tenant may have a thread. A failure of the program is a result.
   * @throws the reason of the caller's signal when it aborts; Error when the pool is closed
   */
  async run(program: SubmittedProgram, caller: Caller): Promise<ProgramResult> {
    const { tenant, signal } = caller;
    signal.throwIfAborted();
    if (this.#closed) throw new Error("the sandbox is closed");
    const { promise, resolve, reject } = Promise.withResolvers<ProgramResult>();
    const queued: QueuedProgram = { program, caller, resolve, reject };
    const cancel = () => {
      reject(signal.reason);
      this.#queues[program.code].remove(tenant, queued);
      const thread = [...this.#busy].find((busy) => busy.queued === queued);
      if (thread) this.#end(thread, failedAs("error", "it was cancelled"));
    };
    signal.addEventListener("abort", cancel);
    this.#queues[program.code].push(tenant, queued);
    this.#startQueued(program.code);
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  /** Terminates all threads, also those that run a program. Resolves when they have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const queue of Object.values(this.#queues)) {
      for (const queued of queue.clear()) queued.reject(new Error("the sandbox is closed"));
    }
    const workers = [...this.#idle.splice(0), ...Array.from(this.#busy, ({ worker }) => worker)];
    for (const thread of this.#busy) {
      this.#end(thread, failedAs("error", "the sandbox is closed"));
    }
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #startQueued(code: Program["code"]): void {
    const { all, tenant: share } = THREADS[code];
    const longShare = Math.min(LONG_THREADS, all - 1);
    const isFree = (tenant: string) =>
      this.#countBusy(code, (other) => other === tenant) < share &&
      (!this.#isLong(tenant) || this.#countBusy(code, (other) => this.#isLong(other)) < longShare);
    while (this.#countBusy(code, () => true) < all) {
      const queued = this.#queues[code].take(isFree);
      if (queued === undefined) return;
      this.#start(queued);
    }
  }

  /** The number of threads that run code of this kind for a tenant for which `isSuch` holds. */
  #countBusy(code: Program["code"], isSuch: (tenant: string) => boolean): number {
    return [...this.#busy].filter(
      ({ queued: { program, caller } }) => program.code === code && isSuch(caller.tenant),
    ).length;
  }

  #isLong(tenant: string): boolean {
    if ((this.#long.get(tenant) ?? 0) > performance.now()) return true;
    // On a busy machine a long program runs for minutes before it has used its processor time.
    return [...this.#busy].some(({ isLong, queued }) => isLong && queued.caller.tenant === tenant);
  }

  #noteLong(tenant: string): void {
    const nowMs = performance.now();
    this.#long.delete(tenant);
    this.#long.set(tenant, nowMs + LONG_FOR_MS);
    for (const [other, untilMs] of this.#long) {
      if (untilMs > nowMs) break;
      this.#long.delete(other);
    }
  }

  #start(queued: QueuedProgram): void {
    const idle = this.#idle.pop();
    const worker = idle ?? new Worker(new URL("./sandbox-thread.ts", import.meta.url));
    // A busy thread keeps the process alive; an idle one does not.
    worker.ref();
    const giveUp = () => this.#end(thread, failedAs("error", "its thread did not start within 60 s"));
    const timer = idle ? undefined : setTimeout(giveUp, START_MS);
    const thread: BusyThread = { worker, queued, timer, isLong: false };
    this.#busy.add(thread);
    if (idle) this.#limit(thread);
    worker.on("message", (sent: unknown) => {
      const message = ThreadMessage.parse(sent);
      if (message === READY) {
        clearTimeout(thread.timer);
        this.#limit(thread);
        return;
      }
      if (message === LONG) thread.isLong = true;
      else this.#end(thread, message);
    });
    worker.once("error", (error) => this.#end(thread, failedAs("error", String(error))));
    const { program } = queued;
    worker.postMessage({ ...program, state: JSON.stringify(program.state) } satisfies Program);
  }

  /** Terminates the thread when its program is beyond its limit of processor time. The thread can say how much it has used also in a loop. */
  #limit(thread: BusyThread): void {
    const { worker, queued } = thread;
    const atStart = worker.cpuUsage();
    // A thread that has failed has no processor time; its "error" event ends the program.
    atStart.catch(() => {});
    const look = async () => {
      const { user, system } = await worker.cpuUsage(await atStart);
      if (!this.#busy.has(thread)) return;
      if ((user + system) / 1_000 > queued.program.limitMs) this.#end(thread, failedAs("time", ""));
      else lookLater();
    };
    const lookLater = () => {
      thread.timer = setTimeout(() => void look().catch(() => {}), this.#lookMs);
    };
    lookLater();
  }

  #end(thread: BusyThread, { result, mayRunAnother }: ProgramEnd): void {
    if (!this.#busy.delete(thread)) return;
    const { worker, queued, timer, isLong } = thread;
    clearTimeout(timer);
    if (isLong) this.#noteLong(queued.caller.tenant);
    worker.removeAllListeners("message");
    worker.removeAllListeners("error");
    if (mayRunAnother && !this.#closed) {
      worker.unref();
      this.#idle.push(worker);
    } else void worker.terminate();
    queued.resolve(result);
    this.#startQueued(queued.program.code);
  }
}

/** The end of a program whose thread must be replaced. */
function failedAs(failed: "error" | "time", message: string): ProgramEnd {
  return { result: { failed, message }, mayRunAnother: false };
}
