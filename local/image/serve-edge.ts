/**
 * Serves the self-hosted edge until SIGTERM: workerd with the same services as in `npm start`, configured from the environment. When
 * workerd ends by itself this program ends with 1, so that the container is restarted.
 */
import { join } from "node:path";
import { log, messageOf } from "../../shared/log.ts";
import { untilSignalled } from "../../worker-node/ops/until-signalled.ts";
import { readSecretFiles } from "../../worker-node/secret-files.ts";
import { readEdgeBuild } from "../edge/build.ts";
import { startEdgeProcess } from "../edge/process.ts";
import { projectFolder } from "../processes/programs.ts";
import { readEdgeSettings } from "./edge-settings.ts";

try {
  readSecretFiles(process.env);
  const build = readEdgeBuild(join(projectFolder, "edge/build"));
  const settings = readEdgeSettings(process.env, build);
  const stopped = new AbortController();
  void untilSignalled().then(() => stopped.abort());
  const edge = await startEdgeProcess(build, settings, stopped.signal);
  log.info("edge.listening", { host: settings.host, port: settings.ports[0], s3_port: settings.s3Port });
  stopped.signal.addEventListener("abort", () => void edge.stop());
  if (stopped.signal.aborted) await edge.stop();
  await edge.ended;
  if (!stopped.signal.aborted) throw new Error("workerd ended");
  process.exit(0);
} catch (error) {
  log.error("edge.failed", { message: messageOf(error) });
  process.exit(1);
}
