/**
 * Restate: its server stores jobs and journals in its own log (fsync is on by default) and calls the service over HTTP/2. A job is
 * submitted to its ingress with `/send` (https://docs.restate.dev/services/invocation/http); each step is `ctx.run`. The server's
 * configuration is its default, which its documentation advises for one node.
 */
import { join } from "node:path";
import { z } from "zod";
import { startProcess, stopProcess, untilReady } from "../../../local/processes/child.ts";
import { freePort } from "../../../local/processes/free-ports.ts";
import { requestBytes } from "../load.ts";
import { appPeer } from "./app-peer.ts";
import { HttpClient } from "./http-client.ts";
import { exported, importPeer, peerProgram, VERSIONS } from "./packages.ts";
import { nowMs, stepsOf } from "./peer.ts";
import type { Job, Participant, Place } from "./peer.ts";
import type { Work } from "./work.ts";
import { PeerWorker } from "./worker-process.ts";

const SERVICE = "bench";

type Context = { run<Result>(name: string, step: () => Promise<Result>): Promise<Result> };
type Definition = {
  name: string;
  handlers: { job: (context: Context, job: Job) => Promise<void> };
  options: { inactivityTimeout: number };
};
type Endpoint = { bind(service: unknown): Endpoint; listen(port: number): Promise<number> };
const Exports = z.object({
  service: exported<(definition: Definition) => unknown>(),
  endpoint: exported<() => Endpoint>(),
});
const Sent = z.object({ invocationId: z.string() });

export const restate: Participant = {
  name: "Restate",
  version: VERSIONS["@restatedev/restate-server"],
  async start(setting) {
    const server = await startServer(setting.place);
    const worker = new PeerWorker("restate", setting.place);
    await register(server.adminPort, await worker.start());
    const client = new HttpClient(server.ingressPort);
    const at = { port: server.ingressPort, path: `/${SERVICE}/job/send` };
    const running = appPeer(setting, worker, at, async (id, acknowledged) => {
      // The service gets no notice when the end of a job is stored: the response to `attach` comes after the store.
      const { invocationId } = Sent.parse(JSON.parse(acknowledged));
      await client.send(requestBytes("GET", `/restate/invocation/${invocationId}/attach`, {}), 200);
      const endedMs = nowMs();
      return { ...(await worker.timesOf(id)), endedMs };
    });
    return {
      ...running,
      async stop() {
        client.close();
        await running.stop();
        await server.stop();
      },
    };
  },
};

export const work: Work = async (bench) => {
  // By default the SDK logs the start and the end of each invocation.
  process.env["RESTATE_LOGGING"] = "ERROR";
  const sdk = await importPeer("@restatedev/restate-sdk", Exports);
  const service = sdk.service({
    name: SERVICE,
    handlers: {
      async job(context, job) {
        await bench.untilOpen();
        bench.claimed(job);
        for (let step = 1; step <= stepsOf(job); step++)
          await context.run(`s${step}`, () => bench.step(job, step));
        bench.ended(job);
      },
    },
    // Jobs wait at the gate longer than a minute when they are submitted for long.
    options: { inactivityTimeout: 3_600_000 },
  });
  const port = await sdk
    .endpoint()
    .bind(service)
    .listen(await freePort(0));
  return { port, stop: async () => {} };
};

/** Starts the server with its data in the participant's folder, and reports nothing to its vendor. */
async function startServer({ dir }: Place) {
  const [ingressPort, adminPort, nodePort] = [await freePort(0), await freePort(0), await freePort(0)];
  const log = join(dir, "restate.log");
  const command = peerProgram(
    `@restatedev/restate-server-${process.platform}-${process.arch}/bin/restate-server`,
  );
  const env = {
    ...process.env,
    RESTATE_BASE_DIR: join(dir, "restate"),
    RESTATE_DISABLE_TELEMETRY: "true",
    RESTATE_LOG_FILTER: "warn",
    RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingressPort}`,
    RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${adminPort}`,
    RESTATE_BIND_ADDRESS: `127.0.0.1:${nodePort}`,
    RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${nodePort}`,
  };
  const child = startProcess({ command, args: [], env, cwd: dir }, log, "SIGTERM");
  await untilReady(child, log, async () => {
    for (const url of [
      `http://127.0.0.1:${adminPort}/health`,
      `http://127.0.0.1:${ingressPort}/restate/health`,
    ]) {
      const { ok, status } = await fetch(url);
      if (!ok) throw new Error(`${url} answered ${status}`);
    }
  });
  return { ingressPort, adminPort, stop: () => stopProcess(child, "SIGTERM") };
}

async function register(adminPort: number, servicePort: number): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${adminPort}/deployments`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ uri: `http://127.0.0.1:${servicePort}` }),
  });
  if (!response.ok) throw new Error(`Restate refused the service: ${await response.text()}`);
}
