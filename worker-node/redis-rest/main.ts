/** The process of the REST front: reads the environment, logs one line when it listens, stops on SIGTERM or SIGINT. */
import { log, messageOf } from "../../shared/log.ts";
import { untilSignalled } from "../ops/until-signalled.ts";
import { readSecretFiles } from "../secret-files.ts";
import { readRestConfig } from "./rest-config.ts";
import { startRestFront } from "./start-rest-front.ts";

try {
  readSecretFiles(process.env);
  const front = await startRestFront(readRestConfig(process.env));
  log.info("redis_rest.listening", { port: front.port });
  await untilSignalled();
  await front.stop();
  log.info("redis_rest.stopped");
  // pm2 runs code of its own in this process, whose open channel would keep the process alive.
  process.exit(0);
} catch (error) {
  log.error("redis_rest.failed", { message: messageOf(error) });
  process.exit(1);
}
