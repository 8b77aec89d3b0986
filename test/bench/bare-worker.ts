import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { freePort } from "../../local/processes/free-ports.ts";
import { cpuMs, findDescendant } from "./cpu.ts";
import { loadRows } from "./load.ts";
import { CLIENTS, runRequest } from "./requests.ts";
import type { Row } from "./stats.ts";

const SCRIPT = `export default {
  async fetch(request) {
    const { message } = await request.json();
    return Response.json({ run_id: "run_2483e1773407_1780499750067", status: message.length }, { status: 202 });
  },
};`;

/** The floor of the edge's runtime on this machine: a Worker that reads the same JSON, responds with JSON, and does nothing else. */
export async function benchBareWorker(): Promise<Row[]> {
  const port = await freePort(0);
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      cf: false,
      modules: true,
      script: SCRIPT,
      compatibilityDate: "2026-10-23",
      unsafeDirectSockets: [{ host: "127.0.0.1", port }],
    }),
  );
  try {
    await miniflare.ready;
    const workerd = findDescendant(process.pid, "workerd");
    return await loadRows(
      `floor: bare Worker, ${CLIENTS} clients`,
      { port, clients: CLIENTS, request: runRequest("no key"), status: 202 },
      { workerd: () => cpuMs(workerd) },
    );
  } finally {
    await miniflare.dispose();
  }
}
