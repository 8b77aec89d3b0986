import type { Kind, Job, Running, Setting } from "./peer.ts";
import { randomUUID } from "node:crypto";
import { PeerWorker } from "./worker-process.ts";

/**
 * A peer whose jobs wait in a store, so that its client works without its worker: the worker's process runs while jobs may execute.
 * @param client submits a job, and resolves when the peer has acknowledged it
 */
export function queuePeer(
  name: string,
  { place, called }: Setting,
  client: { submit(job: Job): Promise<void>; stop(): Promise<void> },
): Running {
  const worker = new PeerWorker(name, place);
  return {
    async submit(kind: Kind) {
      const id = randomUUID();
      await client.submit({ id, kind });
      return id;
    },
    async open() {
      await worker.start();
    },
    close: () => worker.stop(),
    countEnded: () => worker.countEnded(),
    watch: async () => {},
    timesOf: (id) => worker.timesOf(id),
    executions: async (kind) => [kind === "one" ? worker.ran : called],
    async stop() {
      await worker.stop();
      await client.stop();
    },
  };
}
