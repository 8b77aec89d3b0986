/**
 * The programs of compose.yaml, started from the image's file tree: with the environment, command and health check that compose.yaml gives
 * them, as a user that cannot write to the tree. Only the addresses differ: they are free ports of this machine.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { freePort } from "../../local/processes/free-ports.ts";
import { nodeProgram, startUntilEvent, type Program } from "../../local/processes/programs.ts";
import { postgresUser } from "../../local/stores/postgres-binaries.ts";
import { entrypoint, readCompose, secrets } from "../deploy/compose.ts";
import type { Command } from "../../local/processes/child.ts";

/** `output`: what the program wrote to its standard output. */
export type Ended = { code: unknown; output: string; errors: string };

/** The ports of stores by the names that compose.yaml gives them, and those of a collector of traces. */
export type Ports = {
  redis: number;
  postgres: number;
  pgbouncer: number;
  otlpGrpc: number;
  otlpHttp: number;
};

/** The variables of `.env`. */
const deployed = {
  ...secrets,
  OTLP_ENDPOINT: "http://collector:4317",
  OTLP_HTTP_ENDPOINT: "http://collector:4318",
};

/** The log event with which each program says that it is ready. */
const ready = { worker: "worker.ready", "redis-rest": "redis_rest.listening", edge: "edge.listening" };
export type ProgramName = keyof typeof ready;

export class Image {
  readonly #dir = mkdtempSync(join(tmpdir(), "synapse-image-"));
  readonly #user = postgresUser();
  readonly tree = join(this.#dir, "app");
  readonly #addresses: [from: string, to: string][] = [];
  /** The port on which each program answers its health check. */
  readonly #ports = new Map<ProgramName, number>();

  /** Makes the tree with `npm run pack:worker`. */
  static async pack(): Promise<Image> {
    const image = new Image();
    chmodSync(image.#dir, 0o755);
    const { args, ...program } = nodeProgram("local/image/pack.ts");
    const packed = await image.#runToEnd({ ...program, args: [...args, "--out", image.tree] });
    if (packed.code !== 0) throw new Error(`npm run pack:worker failed:\n${packed.errors}`);
    const data = join(image.#dir, "data");
    mkdirSync(data);
    if (image.#user !== null) chownSync(data, image.#user.uid, image.#user.gid);
    image.#addresses.push(["/data", data]);
    return image;
  }

  /** Decides the address of each service. */
  async connect(ports: Ports): Promise<void> {
    const programPorts = [
      ["worker", 9000],
      ["redis-rest", 8079],
      ["edge", 8123],
      ["edge", 8333],
    ] as const;
    for (const [name, port] of programPorts) {
      const free = await freePort(0);
      if (!this.#ports.has(name)) this.#ports.set(name, free);
      for (const host of [name, "127.0.0.1"]) this.#addresses.push([`${host}:${port}`, `127.0.0.1:${free}`]);
      this.#addresses.push([String(port), String(free)]);
    }
    this.#addresses.push(
      ["redis:6379", `127.0.0.1:${ports.redis}`],
      ["postgres:5432", `127.0.0.1:${ports.postgres}`],
      // Debian's PgBouncer is older than the one of compose.yaml, and keeps no named statements.
      ["pgbouncer:6432/synapse", `127.0.0.1:${ports.pgbouncer}/synapse?prepare=false`],
      ["collector:4317", `127.0.0.1:${ports.otlpGrpc}`],
      ["collector:4318", `127.0.0.1:${ports.otlpHttp}`],
    );
  }

  url(name: ProgramName, path: string): string {
    return `http://127.0.0.1:${this.#ports.get(name)}${path}`;
  }

  start(name: ProgramName): Promise<Program> {
    return startUntilEvent(ready[name], name, this.#command(name, this.#service(name).command ?? []));
  }

  /** Executes a program of the tree until its end, with the environment and the addresses of the service `name`. */
  run(name: ProgramName, ...args: string[]): Promise<Ended> {
    return this.#runToEnd(this.#command(name, args));
  }

  /** The health check of compose.yaml. @returns its exit code: 0 is healthy */
  async health(name: ProgramName): Promise<Ended> {
    const [kind, ...command] = this.#service(name).healthcheck.test;
    if (kind !== "CMD" || command[0] !== "node")
      throw new Error(`${name}: the health check is not of CMD and node`);
    return this.#runToEnd({
      ...this.#command(name, []),
      args: command.slice(1).map((arg) => this.#withLocalAddresses(arg)),
    });
  }

  remove(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #service(name: ProgramName) {
    const service = readCompose(deployed).services[name];
    if (!service) throw new Error(`compose.yaml has no service ${name}`);
    return service;
  }

  #command(name: ProgramName, args: string[]): Command {
    const [program, ...flags] = entrypoint();
    if (program !== "node") throw new Error("the image's entry point is not node");
    const environment = Object.entries(this.#service(name).environment);
    return {
      command: process.execPath,
      args: [...flags, ...args],
      cwd: join(this.tree, "programs"),
      env: {
        PATH: process.env.PATH,
        ...Object.fromEntries(
          environment.map(([variable, value]) => [variable, this.#withLocalAddresses(value)]),
        ),
      },
      ...this.#user,
    };
  }

  /** The value with the addresses of this machine: a whole address, port or folder is replaced, and so is an address in a URL. */
  #withLocalAddresses(value: string): string {
    const whole = this.#addresses.find(([from]) => from === value);
    if (whole) return whole[1];
    return this.#addresses
      .filter(([from]) => from.includes(":"))
      .reduce((replaced, [from, to]) => replaced.replace(new RegExp(`(?<![\\w-])${from}(?!\\d)`), to), value);
  }

  async #runToEnd({ command, args, ...options }: Command): Promise<Ended> {
    const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    const ended = once(child, "close");
    const [out, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
    const [code]: unknown[] = await ended;
    return { code, output: out.trim(), errors: errors.trim() };
  }
}
