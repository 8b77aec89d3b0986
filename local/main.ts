/** `npm start`: the whole system on this machine, until Ctrl-C. */
import { chmodSync, mkdirSync } from "node:fs";
import { startBlock } from "./settings/facts.ts";
import { lockFolder } from "./processes/lock.ts";
import { readOptions } from "./settings/options.ts";
import { startStack } from "./supervisor.ts";

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  mkdirSync(options.data, { recursive: true });
  chmodSync(options.data, 0o711); // under root another user runs Postgres, and has to get through
  const unlock = lockFolder(options.data);
  process.once("exit", unlock);

  const asked = signalled();
  const starting = startStack(options, process.env);
  const stack = await Promise.race([starting, asked]);
  if (stack === "stop") return; // while it was starting: the guards end what has started
  console.log(startBlock(stack.facts()));
  await asked;
  console.log("\nStopping …");
  await stack.stop();
}

/** Resolves at Ctrl-C or SIGTERM. A second one ends us at once. */
function signalled(): Promise<"stop"> {
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
