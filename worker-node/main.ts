import { log, messageOf } from "../shared/log.ts";
import { readConfig } from "./config.ts";
import { untilSignalled } from "./ops/until-signalled.ts";
import { readSecretFiles } from "./secret-files.ts";
import { startWorker } from "./start.ts";

log.joinLines();
try {
  readSecretFiles(process.env);
  const signalled = untilSignalled();
  const starting = startWorker(readConfig(process.env));
  // A signal also ends a worker that waits for an unreachable Postgres.
  const worker = await Promise.race([starting, signalled]);
  await Promise.race([signalled, worker?.drainRequested]);
  await worker?.drain();
  log.flush();
  process.exit(0);
} catch (error) {
  log.error("worker.failed", { message: messageOf(error) });
  process.exit(1);
}
