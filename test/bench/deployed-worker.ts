import { buildPrograms } from "../../local/programs/build.ts";
import { builtProgram } from "../../local/processes/programs.ts";

/**
 * The arguments of a Node process that runs the worker as `npm start` and the image do: the bundle, with V8's small young generation. It
 * takes another time for a step than the sources with Node's own young generation, and starts in less than half of theirs.
 */
export async function deployedWorker(): Promise<string[]> {
  await buildPrograms();
  return builtProgram("worker-node/main.ts").args;
}
