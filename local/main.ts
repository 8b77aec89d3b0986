/** `npm start`: builds the programs when a source is newer, and then executes local/run.ts in this process. */
import { buildPrograms } from "./programs/build.ts";
import { builtProgram } from "./processes/programs.ts";

try {
  await buildPrograms();
  const { command, args, env } = builtProgram("local/run.ts");
  if (!process.execve) throw new Error("npm start runs on Linux and macOS");
  // The built program replaces this one in the same process: a parent that only waits and forwards signals would take 60 MB.
  process.execve(command, [command, ...args, ...process.argv.slice(2)], { ...env });
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
