/** `npm start` with stores, edge and workers of its own, whose processes a test kills. */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { freePort } from "../../local/processes/free-ports.ts";
import { nodeProgram, startProgram, type Program } from "../../local/processes/programs.ts";
import { copyBuiltEdge } from "../services/built-edge.ts";

const Facts = z.object({
  api_base: z.string(),
  api_key: z.string(),
  edge_pid: z.number(),
  redis_pid: z.number(),
  redis_url: z.string(),
  redis_rest_pid: z.number(),
  postgres_url: z.string(),
  postgres_pid: z.number(),
  workers: z.array(z.object({ name: z.string(), pid: z.number() })).length(2),
});
export type Facts = z.infer<typeof Facts>;

export class OwnSystem {
  readonly #dir: string;
  readonly lines: string[] = [];
  readonly program: Program;

  private constructor(dir: string, program: (onLine: (line: string) => void) => Program) {
    this.#dir = dir;
    this.program = program((line) => this.lines.push(line));
  }

  /** Starts the system, and waits until it serves requests. @param env added to its environment */
  static async start(env: Record<string, string> = {}): Promise<OwnSystem> {
    const dir = mkdtempSync(join(tmpdir(), "synapse-own-system-"));
    chmodSync(dir, 0o711); // under root another user runs Postgres, and must be able to enter this folder
    await copyBuiltEdge(dir);
    const port = await freePort(0);
    const { promise: running, resolve, reject } = Promise.withResolvers<void>();
    const system = new OwnSystem(dir, (onLine) => {
      const command = nodeProgram("local/main.ts", env);
      const args = [...command.args, "--data", dir, "--port", String(port)];
      return startProgram("start", { ...command, args }, (line) => {
        onLine(line);
        if (line.startsWith("synapse-edge is running")) resolve();
      });
    });
    system.program.child.once("exit", () => reject(new Error("npm start ended before it served")));
    await running;
    return system;
  }

  /** The present content of dev.json. */
  get facts(): Facts {
    return Facts.parse(JSON.parse(readFileSync(join(this.#dir, "dev.json"), "utf8")));
  }

  /** How often `npm start` has reported that this process ended. */
  ends(name: string): number {
    return this.lines.filter((line) => line.startsWith(`${name} has ended`)).length;
  }

  async stop(): Promise<void> {
    await this.program.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
