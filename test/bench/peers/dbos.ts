/**
 * DBOS Transact: workflows in Postgres. As its documentation shows (https://docs.dbos.dev/typescript/tutorials/workflow-tutorial): an
 * application accepts a request over HTTP, starts a workflow in the background and responds when it is started; each step is
 * `DBOS.runStep`. The same process executes the workflows, so a drain has no dequeuing: DBOS's queues poll, by default each second.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { z } from "zod";
import { portOf } from "../../../worker-node/ops/health-server.ts";
import { appPeer } from "./app-peer.ts";
import { exported, importPeer, VERSIONS } from "./packages.ts";
import { stepsOf } from "./peer.ts";
import type { Job, Participant } from "./peer.ts";
import type { Work } from "./work.ts";
import { PeerWorker } from "./worker-process.ts";

type Workflow = (job: Job) => Promise<void>;
type Dbos = {
  setConfig(config: {
    name: string;
    systemDatabaseUrl: string;
    systemDatabasePoolSize: number;
    logLevel: string;
  }): void;
  launch(): Promise<void>;
  shutdown(): Promise<void>;
  registerWorkflow(workflow: Workflow, config: { name: string }): Workflow;
  startWorkflow(
    workflow: Workflow,
    options: { workflowID: string },
  ): (job: Job) => Promise<{ getResult(): Promise<void> }>;
  runStep<Result>(step: () => Promise<Result>, options: { name: string }): Promise<Result>;
};
const Exports = z.object({ DBOS: exported<Dbos>() });
const JobBody = z.object({ id: z.string(), kind: z.enum(["one", "five"]) });

export const dbos: Participant = {
  name: "DBOS",
  version: VERSIONS["@dbos-inc/dbos-sdk"],
  async start(setting) {
    const worker = new PeerWorker("dbos", setting.place);
    const port = await worker.start();
    return appPeer(setting, worker, { port, path: "/" }, (id) => worker.timesOf(id));
  },
};

export const work: Work = async (bench) => {
  const { DBOS } = await importPeer("@dbos-inc/dbos-sdk", Exports);
  DBOS.setConfig({
    name: "bench",
    systemDatabaseUrl: bench.place.postgresUrl,
    systemDatabasePoolSize: 20,
    logLevel: "error",
  });
  const workflow = DBOS.registerWorkflow(
    async (job) => {
      await bench.untilOpen();
      bench.claimed(job);
      for (let step = 1; step <= stepsOf(job); step++)
        await DBOS.runStep(() => bench.step(job, step), { name: `s${step}` });
    },
    { name: "bench" },
  );
  await DBOS.launch();
  const server = createServer((request, response) => {
    void (async () => {
      const job = JobBody.parse(JSON.parse(await text(request)));
      const handle = await DBOS.startWorkflow(workflow, { workflowID: job.id })(job);
      response.writeHead(202, { "content-length": "2" }).end("{}");
      await handle.getResult();
      bench.ended(job);
    })();
  }).listen(0, "127.0.0.1");
  server.keepAliveTimeout = 60_000;
  await once(server, "listening");
  return {
    port: portOf(server),
    async stop() {
      server.closeAllConnections();
      server.close();
      await DBOS.shutdown();
    },
  };
};
