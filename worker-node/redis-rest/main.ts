/** The process of the REST front: environment in, one line when it listens, a clean end on SIGTERM or SIGINT. */
import { readConfig, type RestConfig } from "./rest-config.ts";
import { startRestFront } from "./start-rest-front.ts";

const log = (event: string, fields: Record<string, unknown> = {}) =>
  process.stdout.write(`${JSON.stringify({ event: `redis_rest.${event}`, ...fields })}\n`);

let config: RestConfig;
try {
  config = readConfig(process.env);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

const front = await startRestFront(config, log);
log("listening", { port: front.port });

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.once(signal, () => {
    void front.stop().then(() => log("stopped"));
  });
}
