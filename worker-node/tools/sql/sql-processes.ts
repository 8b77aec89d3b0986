import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { FairQueue } from "../../engine/fair-queue.ts";
import { RetryableError, TerminalError, ToolRejection } from "../../engine/step-errors.ts";
import { ProcessMessage, READY } from "./sql-call.ts";
import type { SqlAnswer, SqlCall } from "./sql-call.ts";

/**
 * The processes of a worker, and the most that one tenant may have at a time, so that the others stay free for other tenants. Each
 * has about 20 MB of its own, and its start takes 70 ms of processor time.
 */
const PROCESSES = { all: 16, tenant: 4 };
/** The most processes that wait for a further call of their tenants, and how long each waits. */
const IDLE = { most: 2, ms: 60_000 };
/** A process can take calls this long after its start, also on a busy machine. */
const START_MS = 60_000;
/** A process ends a call itself at the limit of the call and a second more. One that has not done so after this time is killed. */
const SILENT_MS = 6_000;
/** V8's heap in a process. A call may receive 16 MiB. */
const HEAP = "--max-old-space-size=128";
/** Where OpenSSL finds the certificates that a `verify-full` connection accepts. Nothing else of the worker's environment is passed on. */
const ENVIRONMENT: ReadonlySet<string> = new Set(["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"]);

/** The tenant of a call, its limit, and the signal that cancels it. */
type Caller = { tenantId: string; timeoutMs: number; signal: AbortSignal };
type QueuedCall = {
  call: SqlCall;
  caller: Caller;
  resolve(answer: SqlAnswer): void;
  reject(error: unknown): void;
};
type RunningCall = { queued: QueuedCall; timer: NodeJS.Timeout };
type IdleProcess = { child: ChildProcess; tenantId: string; timer: NodeJS.Timeout };

/**
 * Makes the calls of tools of type `sql` in processes of their own, each process one call at a time; tenants take turns.
 *
 * A tenant chooses the server that the driver speaks to, and the driver trusts its server. Whatever a server makes the driver do, it ends
 * or occupies the process of one call: not the worker, nor the call of another tenant. A process has nothing of the worker's environment
 * and memory. It is killed when its call is cancelled, fails or has no answer in time: after a failure the driver may still have to do with
 * the old connection. Else it takes a further call, of the same tenant only.
 */
export class SqlProcesses {
  readonly #program: URL;
  readonly #silentMs: number;
  readonly #queue = new FairQueue<QueuedCall>();
  readonly #idle: IdleProcess[] = [];
  readonly #busy = new Map<ChildProcess, RunningCall>();

  /** @param options for tests: another program, and how long it may be silent after the limit of a call */
  constructor({ program, silentMs = SILENT_MS }: { program?: URL; silentMs?: number } = {}) {
    this.#program = program ?? new URL("./sql-process.ts", import.meta.url);
    this.#silentMs = silentMs;
  }

  /**
   * Makes a call when its tenant may have a process.
   * @param allow the list of EGRESS_ALLOW
   * @throws what `querySql` throws; RetryableError `tool_timeout` without an answer in time, `unreachable` when the process ends; the reason
   *   of the caller's signal
   */
  async query(
    tool: SqlCall["tool"],
    args: JsonObject,
    { allow, ...caller }: Caller & { allow: string },
  ): Promise<Json> {
    const { tenantId, timeoutMs, signal } = caller;
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<SqlAnswer>();
    const { name, connection } = tool;
    const call = { tool: { name, connection }, args, timeoutMs, allow };
    const queued: QueuedCall = { call, caller, resolve, reject };
    const cancel = () => {
      reject(signal.reason);
      this.#queue.remove(tenantId, queued);
      const [child] = [...this.#busy].find(([, running]) => running.queued === queued) ?? [];
      if (child) this.#kill(child);
    };
    signal.addEventListener("abort", cancel);
    this.#queue.push(tenantId, queued);
    this.#startQueued();
    try {
      return valueOf(await promise);
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  /** Kills all processes, after the last call. */
  close(): void {
    const idle = this.#idle.map(({ child }) => child);
    for (const child of [...idle, ...this.#busy.keys()]) child.kill("SIGKILL");
  }

  #startQueued(): void {
    const isFree = (tenant: string) =>
      [...this.#busy.values()].filter(({ queued }) => queued.caller.tenantId === tenant).length <
      PROCESSES.tenant;
    while (this.#busy.size < PROCESSES.all) {
      const queued = this.#queue.take(isFree);
      if (queued === undefined) return;
      this.#start(queued);
    }
  }

  #start(queued: QueuedCall): void {
    const idle = this.#takeIdle(({ tenantId }) => tenantId === queued.caller.tenantId);
    const child = idle ?? this.#fork();
    this.#busy.set(child, {
      queued,
      timer: this.#killAfter(child, idle ? this.#answerMs(queued) : START_MS),
    });
    child.send(queued.call);
  }

  #fork(): ChildProcess {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => ENVIRONMENT.has(name)));
    const child = fork(this.#program, {
      env,
      execArgv: [HEAP],
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    child.on("message", (sent) => this.#receive(child, sent));
    child.on("exit", () => this.#kill(child));
    // It could not be started, or got no message.
    child.on("error", () => this.#kill(child));
    // A process does not keep the worker alive.
    child.unref();
    child.channel?.unref();
    return child;
  }

  #receive(child: ChildProcess, sent: unknown): void {
    const running = this.#busy.get(child);
    if (running === undefined) return;
    const message = ProcessMessage.safeParse(sent).data;
    if (message === undefined) {
      this.#kill(child);
      return;
    }
    clearTimeout(running.timer);
    if (message === READY) {
      running.timer = this.#killAfter(child, this.#answerMs(running.queued));
      return;
    }
    const { queued } = running;
    queued.resolve(message);
    this.#busy.delete(child);
    if ("value" in message) this.#keepIdle(child, queued.caller.tenantId);
    else this.#kill(child);
    this.#startQueued();
    if (this.#idle.length > IDLE.most) this.#takeIdle(() => true)?.kill("SIGKILL");
  }

  #keepIdle(child: ChildProcess, tenantId: string): void {
    const timer = setTimeout(() => this.#kill(child), IDLE.ms).unref();
    this.#idle.push({ child, tenantId, timer });
  }

  /** The process that has waited longest of those that match, which waits no more. */
  #takeIdle(matches: (idle: IdleProcess) => boolean): ChildProcess | undefined {
    const at = this.#idle.findIndex(matches);
    if (at < 0) return undefined;
    const [idle] = this.#idle.splice(at, 1);
    clearTimeout(idle?.timer);
    return idle?.child;
  }

  #answerMs({ caller }: QueuedCall): number {
    return caller.timeoutMs + this.#silentMs;
  }

  #killAfter(child: ChildProcess, ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#kill(child, "tool_timeout"), ms);
  }

  /** Ends a process, if it has not ended. Its call fails, and may be tried again. */
  #kill(child: ChildProcess, code: "tool_timeout" | "unreachable" = "unreachable"): void {
    child.kill("SIGKILL");
    this.#takeIdle((idle) => idle.child === child);
    const running = this.#busy.get(child);
    if (running === undefined) return;
    this.#busy.delete(child);
    clearTimeout(running.timer);
    const { queued } = running;
    const what = code === "tool_timeout" ? "did not answer in time" : "ended without an answer";
    queued.reject(new RetryableError(code, `the call of the tool ${queued.call.tool.name} ${what}`));
    this.#startQueued();
  }
}

function valueOf(answer: SqlAnswer): Json {
  if ("value" in answer) return answer.value;
  const { failed, code, message } = answer;
  const options = answer.cause === null ? {} : { cause: new Error(answer.cause) };
  switch (failed) {
    case "rejection":
      throw new ToolRejection(message, { ...options, code });
    case "terminal":
      throw new TerminalError(code, message, options);
    case "retryable":
      throw new RetryableError(code, message, options);
  }
}
