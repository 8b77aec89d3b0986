/** A peer whose process must run to accept jobs, because the same process, or a server that calls it, executes them. */
import { randomUUID } from "node:crypto";
import { requestBytes } from "../load.ts";
import { HttpClient } from "./http-client.ts";
import type { Job, Running, Setting } from "./peer.ts";
import type { PeerWorker } from "./worker-process.ts";

const JSON_HEADERS = { "content-type": "application/json" };

/**
 * @param worker has been started. Its handlers wait until it is open
 * @param port the HTTP server that accepts jobs with 202, at `path`
 * @param timesOf when a job was claimed and ended, by its id and the body of the acknowledgement
 */
export function appPeer(
  { called }: Setting,
  worker: PeerWorker,
  { port, path }: { port: number; path: string },
  timesOf: (id: string, acknowledged: string) => Promise<{ claimedMs: number; endedMs: number }>,
): Running {
  const client = new HttpClient(port);
  const acknowledged = new Map<string, string>();
  return {
    async submit(kind) {
      const job: Job = { id: randomUUID(), kind };
      const body = await client.send(requestBytes("POST", path, JSON_HEADERS, JSON.stringify(job)), 202);
      acknowledged.set(job.id, body);
      return job.id;
    },
    open: async () => worker.setOpen(true),
    close: async () => worker.setOpen(false),
    countEnded: () => worker.countEnded(),
    watch: async () => {},
    timesOf: (id) => timesOf(id, acknowledged.get(id) ?? ""),
    executions: async (kind) => [kind === "one" ? worker.ran : called],
    async stop() {
      client.close();
      await worker.stop();
    },
  };
}
