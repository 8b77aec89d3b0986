import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { freePort } from "../../local/processes/free-ports.ts";
import { newRunId, TenantId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { VIEWER_CHECK_MS } from "../../shared/timing.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { newApiKey, saveApiKey } from "../../shared/store/tenants/api-keys.ts";
import { findDescendant, residentKiB } from "./cpu.ts";
import { TENANT } from "./definition.ts";
import { startBenchEdge } from "./edge.ts";
import type { BenchEdge } from "./edge.ts";
import { connected, requestBytes } from "./load.ts";
import { acceptBenchRuns } from "./runs.ts";
import type { Row } from "./stats.ts";

/** The edge notices that a viewer has left when it next writes to it, at the latest with a keepalive. */
const LEFT_MS = VIEWER_CHECK_MS + 2_000;

type Stores = Parameters<typeof startBenchEdge>[2];

/** The numbers of open viewers at the steps. A tenant may take half of a relay's 2,000 seats, and a key 750. */
const STEPS = [500, 2_000];
const VIEWERS_OF_A_KEY = 500;
const OTHER_TENANT = TenantId.parse("bench-2");

/**
 * The most memory of the process for one viewer, beyond an open stream that the runtime serves without this product.
 *
 * The parts of such a stream in plain workerd 1.20261023 (2,000 connections, KiB each): 20 for a connection that waits for a
 * request, 37 for the response of a stream that JavaScript feeds, 12 for its way through a Durable Object: 69. Two signals add 2
 * and `AbortSignal.any` 2; a copy of the response with its headers adds less than 1. A byte stream takes 85, an
 * IdentityTransformStream 135, a stream over RPC 97, and a response passed on from another HTTP server 76. V8's flags for a
 * small young generation change nothing: this memory is the runtime's own. A viewer takes about 5 KiB of the isolate's memory;
 * most of what it adds to the process is memory that the runtime has not collected yet.
 */
const MOST_OWN_KIB = 80;
const MOST_WORKERD_MIB = 512;

/**
 * The number of viewers that do not read. The bound on their unsent bytes is on the process, with memory that is not collected
 * yet; of the 128 MB of an isolate each of them takes about 10 KiB.
 */
const SLOW = 200;
const WAITING = { events: 40, eventBytes: 28_000 };
const MOST_SLOW_KIB = 2_048;

/** A connection that waits for its next request. */
const CONNECTION = `export class Bare {}
export default { fetch: () => new Response("\\n") };`;

/** A stream of the Worker that owns the socket. Without a timer the runtime would end it as a request that hangs. */
const STREAM = `export class Bare {}
const open = [];
export default {
  fetch() {
    setTimeout(() => {}, 3_600_000);
    const start = (controller) => { open.push(controller); controller.enqueue(new Uint8Array([10])); };
    return new Response(new ReadableStream({ start }), { headers: { "content-type": "text/event-stream" } });
  },
};`;

/** A stream of a Durable Object, passed on by a Worker: the lightest viewer of this design that the runtime can have. */
const BARE = `import { DurableObject } from "cloudflare:workers";
const open = [];
export class Bare extends DurableObject {
  fetch() {
    const start = (controller) => { open.push(controller); controller.enqueue(new Uint8Array([10])); };
    return new Response(new ReadableStream({ start }), { headers: { "content-type": "text/event-stream" } });
  }
}
export default { fetch: (request, env) => env.BARE.getByName("one").fetch("https://object/") };`;

/** The memory of workerd for viewers that wait for events, and for viewers that do not read. Each has an edge of its own. */
export async function benchViewers(dir: string, stores: Stores): Promise<Row[]> {
  const connectionKiB = await bareViewerKiB(CONNECTION);
  const streamKiB = await bareViewerKiB(STREAM);
  const bareKiB = await bareViewerKiB(BARE);
  const watch = await runsToWatch(stores.sql);
  return [
    { what: "floor: each further connection without a response", figure: connectionKiB, unit: "KiB" },
    { what: "floor: each further stream of a bare Worker", figure: streamKiB, unit: "KiB" },
    { what: "floor: each further stream of a bare Durable Object", figure: bareKiB, unit: "KiB" },
    ...(await onNewEdge(dir, "idle", stores, (edge) => idleRows(edge, watch, bareKiB))),
    ...(await onNewEdge(dir, "slow", stores, (edge) => slowRows(stores.sql, edge, watch.slice(0, SLOW)))),
  ];
}

async function onNewEdge(
  dir: string,
  name: string,
  stores: Stores,
  measure: (edge: BenchEdge) => Promise<Row[]>,
): Promise<Row[]> {
  const edge = await startBenchEdge(dir, name, stores);
  try {
    return await measure(edge);
  } finally {
    await edge.stop();
  }
}

async function idleRows({ port, workerd }: BenchEdge, watch: Watch[], bareKiB: number): Promise<Row[]> {
  const viewers = new Viewers(port);
  const beforeKiB = await viewers.warm(watch, workerd);
  const sizes = await sizesKiB(viewers, watch, workerd);
  viewers.close();
  const addedKiB = eachFurtherKiB(sizes);
  return [
    ...sizes.flatMap(({ count, kib }): Row[] => [
      { what: `${count} idle viewers: each`, figure: (kib - beforeKiB) / count, unit: "KiB" },
      { what: `${count} idle viewers: workerd`, figure: kib / 1024, unit: "MiB", most: MOST_WORKERD_MIB },
    ]),
    { what: "each further idle viewer", figure: addedKiB, unit: "KiB", mark: "<= 48" },
    { what: "the same beyond the floor", figure: addedKiB - bareKiB, unit: "KiB", most: MOST_OWN_KIB },
  ];
}

type Size = { count: number; kib: number };

/** The memory of workerd at each step. */
async function sizesKiB(viewers: Viewers, watch: readonly Watch[], workerd: number): Promise<Size[]> {
  const sizes: Size[] = [];
  for (const count of STEPS) {
    await viewers.open(watch.slice(viewers.count, count));
    await sleep(2_000);
    sizes.push({ count, kib: residentKiB(workerd) });
  }
  return sizes;
}

/** What each viewer adds after the first step: what the runtime allocates once for many is in the first step. */
function eachFurtherKiB(sizes: readonly Size[]): number {
  const [first, last] = [sizes[0], sizes.at(-1)];
  return first && last ? (last.kib - first.kib) / (last.count - first.count) : NaN;
}

async function slowRows(sql: Sql, { port, workerd }: BenchEdge, watch: Watch[]): Promise<Row[]> {
  const { events, eventBytes } = WAITING;
  const event = JSON.stringify({ type: "llm_delta", text: "x".repeat(eventBytes) });
  for (const { run } of watch) {
    await sql`
      insert into journal (run_id, seq, attempt, kind, step_path, events_n, events)
      select ${run}, n, 1, 'note', 's1', 1, ${event} from generate_series(1, ${events}::int) n`;
    await sql`update runs set event_seq = ${events} where run_id = ${run}`;
  }
  const viewers = new Viewers(port);
  const beforeKiB = await viewers.warm(watch, workerd);
  await viewers.open(watch, false);
  await sleep(4_000);
  const each = (residentKiB(workerd) - beforeKiB) / watch.length;
  viewers.close();
  return [{ what: `${SLOW} viewers that do not read: each`, figure: each, unit: "KiB", most: MOST_SLOW_KIB }];
}

/** What each further connection to a Worker without this product takes. @param script with a class `Bare` */
async function bareViewerKiB(script: string): Promise<number> {
  const port = await freePort(0);
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      cf: false,
      modules: true,
      script,
      compatibilityDate: "2026-10-23",
      durableObjects: { BARE: { className: "Bare", useSQLite: true } },
      unsafeDirectSockets: [{ host: "127.0.0.1", port }],
    }),
  );
  const viewers = new Viewers(port);
  const watch = Array.from({ length: STEPS.at(-1) ?? 0 }, () => ({
    run: newRunId(Date.now()),
    key: "no key",
  }));
  try {
    await miniflare.ready;
    const workerd = findDescendant(process.pid, "workerd");
    return eachFurtherKiB(await sizesKiB(viewers, watch, workerd));
  } finally {
    viewers.close();
    await miniflare.dispose();
  }
}

type Watch = { run: RunId; key: string };

/** A run for each viewer, of two tenants, with a key for every 500 of them. */
async function runsToWatch(sql: Sql): Promise<Watch[]> {
  const runs = Array.from({ length: STEPS.at(-1) ?? 0 }, () => newRunId(Date.now()));
  await acceptBenchRuns(sql, runs);
  const others = runs.slice(runs.length / 2);
  await sql`insert into tenants (tenant_id) values (${OTHER_TENANT}) on conflict do nothing`;
  await sql`update runs set tenant_id = ${OTHER_TENANT} where run_id in ${sql(others)}`;
  const watch: Watch[] = [];
  for (let at = 0; at < runs.length; at += VIEWERS_OF_A_KEY) {
    const key = newApiKey();
    const tenant = at < runs.length / 2 ? TENANT : OTHER_TENANT;
    await saveApiKey(sql, key, { tenant, name: "bench", scopes: ["runs:read"] });
    watch.push(...runs.slice(at, at + VIEWERS_OF_A_KEY).map((run) => ({ run, key })));
  }
  return watch;
}

/** Open streams, on plain sockets. */
class Viewers {
  readonly #port: number;
  #sockets: Socket[] = [];

  constructor(port: number) {
    this.#port = port;
  }

  get count(): number {
    return this.#sockets.length;
  }

  /** Opens some streams and closes them, so that what the first ones need is there. @returns the memory after that, in KiB */
  async warm(watch: readonly Watch[], pid: number): Promise<number> {
    await this.open(watch.slice(0, 100));
    await this.leave();
    return residentKiB(pid);
  }

  /** Opens a stream of each run. @param reads whether the viewers read what comes after the head of the response */
  async open(watch: readonly Watch[], reads = true): Promise<void> {
    for (let at = 0; at < watch.length; at += 20) {
      const opening = watch.slice(at, at + 20).map((watched) => this.#open(watched, reads));
      this.#sockets.push(...(await Promise.all(opening)));
    }
  }

  close(): void {
    for (const socket of this.#sockets.splice(0)) socket.destroy();
  }

  /** Closes all, and waits until the edge has noticed. */
  async leave(): Promise<void> {
    this.close();
    await sleep(LEFT_MS);
  }

  async #open({ run, key }: Watch, reads: boolean): Promise<Socket> {
    const socket = await connected(this.#port);
    socket.setTimeout(0);
    const path = `/api/v2/orchestrations/runs/${run}/stream`;
    socket.write(requestBytes("GET", path, { authorization: `Bearer ${key}` }));
    const [bytes]: Buffer[] = await once(socket, "data", { signal: AbortSignal.timeout(30_000) });
    const head = bytes?.toString("latin1") ?? "";
    if (!head.startsWith("HTTP/1.1 200 ")) throw new Error(`the stream answered: ${head}`);
    socket.on("error", () => {});
    if (reads) socket.resume();
    else socket.pause();
    return socket;
  }
}
