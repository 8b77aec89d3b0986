/** Runs the whole system on this machine until Ctrl-C. */
import { chmodSync, mkdirSync } from "node:fs";
import { startBlock } from "./settings/facts.ts";
import { lockFolder } from "./processes/lock.ts";
import { readOptions } from "./settings/options.ts";
import { startStack } from "./supervisor.ts";
import { freeStartMemory } from "../worker-node/ops/free-start-memory.ts";
import { readSecretFiles } from "../worker-node/secret-files.ts";

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  readSecretFiles(process.env);
  mkdirSync(options.data, { recursive: true });
  chmodSync(options.data, 0o711); // under root Postgres runs as another user, which must be able to enter
  const unlock = lockFolder(options.data);
  process.once("exit", unlock);

  const stopSignal = untilSignalled();
  const starting = startStack(options, process.env);
  const stack = await Promise.race([starting, stopSignal]);
  if (stack === "stop") return; // during the start: the guards end the children that have started
  console.log(startBlock(stack.facts()));
  freeStartMemory();
  await stopSignal;
  console.log("\nStopping …");
  await stack.stop();
}

/** Resolves at Ctrl-C or SIGTERM. A second signal ends this process at once. */
function untilSignalled(): Promise<"stop"> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve("stop"));
  });
}

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
