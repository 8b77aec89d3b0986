/** The programs of the documentation's examples, executed on the real stack with another host and key and no other change. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect } from "vitest";
import { z } from "zod";
import { MASTER_KEY } from "../../edge/test-stores.ts";
import { startEdge } from "../../workerd/edge.ts";
import type { Edge } from "../../workerd/edge.ts";
import { Viewer } from "../viewer.ts";
import { until } from "../waiting.ts";
import { builtWorker } from "../built-worker.ts";
import { spawnWorker } from "../worker-process.ts";

const HOST = "https://synapse.internal:8123";
const KEY = "sk-syn-your-token";

/** The text of a file of this folder. */
export const textOf = (name: string): string => readFileSync(new URL(name, import.meta.url), "utf8");

/** The text of a snippet with another host and key, and nothing else changed. */
export function snippet(name: string, base: string, key: string): string {
  const text = textOf(name);
  const parts = text.split(HOST);
  if (parts.length !== 2 || !text.includes(KEY)) throw new Error(`${name} names no host or no key`);
  return parts.join(base).replace(KEY, key);
}

const Event = z.looseObject({ type: z.string(), run_id: z.string() });
export type SeenEvent = z.infer<typeof Event>;

export type SnippetStack = {
  edge: Edge;
  /** A key of the tenant `acme`. */
  key: string;
  /** All events of the run, as they are stored. */
  stored(run: string): Promise<SeenEvent[]>;
  /** Waits until the run has been silent for longer than any period of a stream: two keepalives of another viewer. */
  untilLongSilent(run: string): Promise<void>;
  /** Answers the question of the orchestration `orch_asks`. */
  answer(run: string): Promise<void>;
  stop(): Promise<void>;
};

const print = { type: "print", print_content: "{state.user_input}", output_key: "said" };

/** An edge in workerd and a worker, with the orchestrations `orch_prints` (three steps) and `orch_asks` (waits for a person). */
export async function startSnippetStack(): Promise<SnippetStack> {
  const edge = await startEdge();
  const { service, postgresUrl } = edge.stores;
  const stores = { REDIS_URL: service.url, SCALE_POSTGRES_URL: postgresUrl };
  const program = await builtWorker("short");
  const worker = spawnWorker("w1", { ...stores, WORKER_HEALTH_PORT: "0", MASTER_KEY }, program);
  await worker.untilLogged("worker.ready");
  const key = await edge.stores.key("acme", ["runs:write", "runs:read"]);
  const define = async (id: string, steps: object[]): Promise<void> => {
    const body = { name: id, entry_step_id: "a", steps };
    expect((await edge.call("PUT", `/api/v2/orchestrations/${id}`, { body })).status).toBe(200);
  };
  await define("orch_prints", [
    { id: "a", name: "A", ...print, next_step_id: "b" },
    { id: "b", name: "B", ...print, next_step_id: "c" },
    { id: "c", name: "C", ...print },
  ]);
  await define("orch_asks", [
    { id: "a", name: "A", ...print, next_step_id: "ask" },
    {
      id: "ask",
      name: "Ask",
      type: "human",
      human_prompt: "Go on?",
      human_fields: [{ key: "decision" }],
      output_key: "verdict",
      next_step_id: "c",
    },
    { id: "c", name: "C", ...print },
  ]);
  const path = (run: string, rest: string) => `/api/v2/orchestrations/runs/${run}/${rest}`;
  return {
    edge,
    key,
    async stored(run) {
      const answer = await edge.call("GET", path(run, "events?limit=1000"));
      const { events } = z.object({ events: z.array(z.object({ event: Event })) }).parse(await answer.json());
      return events.map(({ event }) => event);
    },
    async untilLongSilent(run) {
      const authorization = `Bearer ${edge.platformKey}`;
      const viewer = await Viewer.open(edge.base + path(run, "stream"), { authorization });
      await viewer.until(({ text }) => text.split(": keepalive\n\n").length > 2);
      expect(viewer.frames.at(-1)?.data.type).toBe("paused");
      viewer.leave();
    },
    async answer(run) {
      const body = { response: { decision: "yes" } };
      expect((await edge.call("POST", path(run, "resume"), { body })).status).toBe(202);
    },
    async stop() {
      await worker.stop("SIGKILL");
      await edge.stop();
    },
  };
}

const Run = z.object({ run_id: z.string() });

/** A program that starts a run and prints its id, then each event of its stream, as lines of JSON. */
export class SnippetProgram {
  readonly #folder = mkdtempSync(join(tmpdir(), "synapse-snippet-"));
  readonly #child;
  readonly #lines: string[] = [];
  #errors = "";
  readonly #exit: Promise<number | null>;

  /** @param file a name with the extension by which the interpreter `command` knows the language */
  constructor(command: string, file: string, source: string, args: string[]) {
    const path = join(this.#folder, file);
    writeFileSync(path, source);
    this.#child = spawn(command, [path, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#lines.push(line));
    this.#child.stderr.on("data", (bytes) => (this.#errors += String(bytes)));
    this.#exit = new Promise((resolve, reject) => {
      this.#child.once("error", reject);
      this.#child.once("close", (code) => resolve(code));
    });
  }

  async run(): Promise<string> {
    const started = until("the snippet has started a run", () => this.#lines.length > 0);
    await Promise.race([started, this.end()]);
    return Run.parse(JSON.parse(this.#lines[0] ?? "")).run_id;
  }

  get events(): SeenEvent[] {
    return this.#lines.slice(1).map((line) => Event.parse(JSON.parse(line)));
  }

  /** Waits until the program has ended by itself. @throws Error with its errors, when it failed */
  async end(): Promise<void> {
    const code = await this.#exit;
    if (code !== 0) throw new Error(`the snippet ended with ${code}: ${this.#errors}`);
  }

  stop(): void {
    this.#child.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Expects that the program starts a run of this orchestration and prints each of its events once and in order. */
export async function expectWholeRun(
  stack: SnippetStack,
  start: (orchestration: string) => SnippetProgram,
): Promise<void> {
  const program = start("orch_prints");
  try {
    const run = await program.run();
    await program.end();
    expect(program.events).toEqual(await stack.stored(run));
    expect(program.events.at(-1)?.type).toBe("done");
    const final = program.events.find(({ type }) => type === "orchestration_complete");
    expect(final).toMatchObject({ status: "completed", final_state: { said: "a question" } });
  } finally {
    program.stop();
  }
}

/** The same for a run that is silent for longer than a stream's periods: one connection brings all of it. */
export async function expectLongRun(
  stack: SnippetStack,
  start: (orchestration: string) => SnippetProgram,
): Promise<void> {
  const program = start("orch_asks");
  try {
    const run = await program.run();
    await until("the snippet sees the pause", () => program.events.at(-1)?.type === "paused");
    await stack.untilLongSilent(run);
    await stack.answer(run);
    await program.end();
    expect(program.events).toEqual(await stack.stored(run));
    expect(program.events.at(-1)?.type).toBe("done");
  } finally {
    program.stop();
  }
}
