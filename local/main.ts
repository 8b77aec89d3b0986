/** `npm start`: builds the programs when a source is newer, and becomes the program that runs the system. */
import { buildPrograms } from "./programs/build.ts";
import { builtProgram } from "./processes/programs.ts";

try {
  await buildPrograms();
  const { command, args, env } = builtProgram("local/run.ts");
  if (!process.execve) throw new Error("npm start runs on Linux and macOS");
  // This process becomes the other one: a parent that only waits and passes signals on would hold 60 MB.
  process.execve(command, [command, ...args, ...process.argv.slice(2)], { ...env });
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
