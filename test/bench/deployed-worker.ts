import { buildPrograms } from "../../local/programs/build.ts";
import { builtProgram } from "../../local/processes/programs.ts";

/**
 * The arguments of a Node process that runs the worker as `npm start` and the image do: the bundle, with V8's small young generation. A
 * worker that runs the sources has a larger one, for which it takes more processor time a step.
 */
export async function deployedWorker(): Promise<string[]> {
  await buildPrograms();
  return builtProgram("worker-node/main.ts").args;
}
