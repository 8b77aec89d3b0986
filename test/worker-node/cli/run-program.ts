import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { nodeProgram } from "../../../local/processes/programs.ts";

/** Runs a command of `worker-node/cli` with `flags` to its end. */
export async function runProgram(file: string, env: { [name: string]: string }, flags: readonly string[]) {
  const program = nodeProgram(`worker-node/cli/${file}`, env);
  const child = spawn(program.command, [...program.args, ...flags], { env: program.env });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { stdout, stderr, code };
}
