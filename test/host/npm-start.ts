/** The whole system as `npm start` starts it, in a data folder of the test's own. */
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { freePort } from "../../local/processes/free-ports.ts";
import { nodeProgram, startProgram, type Program } from "../../local/processes/programs.ts";
import { within } from "../services/waiting.ts";

const Facts = z.object({
  edges: z.array(z.string()),
  api_key: z.string(),
  redis_url: z.string(),
  workers: z.array(z.object({ name: z.string(), pid: z.number() })),
});
export type Facts = z.infer<typeof Facts>;

const Accepted = z.object({ run_id: z.string(), stream_url: z.string() });

export type System = {
  facts(): Facts;
  /** Sends a request to edge number `edge` (the first is 0) with the platform key. */
  request(edge: number, method: string, path: string, body?: unknown): Promise<Response>;
  /** Starts a run on the first edge. @throws Error with the response when it is not accepted */
  run(orchestration: string, message?: string): Promise<z.infer<typeof Accepted>>;
  /** Ctrl-C, then the same command again: on the same ports, with the same data. */
  restart(): Promise<void>;
  stop(): Promise<void>;
};

/** @param env added to the environment of this process: SCALE_POSTGRES_URL, REDIS_URL. */
export async function npmStart(flags: string[], env: Record<string, string> = {}): Promise<System> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-host-"));
  chmodSync(dir, 0o711); // under root another user runs Postgres, and must be able to enter this folder
  const allFlags = ["--data", dir, "--port", String(await freePort(0)), ...flags];
  let program = await startAndWait(allFlags, env);
  const facts = (): Facts => Facts.parse(JSON.parse(readFileSync(join(dir, "dev.json"), "utf8")));

  const request: System["request"] = (edge, method, path, body) => {
    const { edges, api_key } = facts();
    return fetch(`${edges[edge]}${path}`, {
      method,
      headers: { authorization: `Bearer ${api_key}`, "content-type": "application/json" },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(30_000),
    });
  };
  return {
    facts,
    request,
    async run(orchestration, message = "hello") {
      const path = `/api/v2/orchestrations/${orchestration}/run`;
      const answer = await request(0, "POST", path, { message });
      if (answer.status !== 202) throw new Error(`POST answered ${answer.status}: ${await answer.text()}`);
      return Accepted.parse(await answer.json());
    },
    async restart() {
      const ended = once(program.child, "exit");
      program.child.kill("SIGINT");
      await ended;
      program = await startAndWait(allFlags, env);
    },
    async stop() {
      await program.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Resolves when `npm start` has printed its last block: the system accepts runs then. */
async function startAndWait(flags: string[], env: Record<string, string>): Promise<Program> {
  const { promise: running, resolve, reject } = Promise.withResolvers<void>();
  const command = nodeProgram("local/main.ts", env);
  const lines: string[] = [];
  const fail = (what: string): void =>
    reject(new Error(`npm start ${what}:\n${lines.slice(-30).join("\n")}`));
  const program = startProgram("start", { ...command, args: [...command.args, ...flags] }, (line) => {
    lines.push(line);
    if (line.startsWith("synapse-edge is running")) resolve();
  });
  program.child.once("exit", (code) => fail(`ended with ${code}`));
  try {
    await within(300_000, running, () => `npm start is ready:\n${lines.slice(-30).join("\n")}`);
    return program;
  } catch (error) {
    await program.stop();
    throw error;
  }
}
