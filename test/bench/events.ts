import { once } from "node:events";
import { get } from "node:http";
import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import { newIncarnation, newRunId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { claimRuns } from "../../shared/store/runs/claim-runs.ts";
import { stateStore } from "../../shared/store/state.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { Journal } from "../../worker-node/journal/journal.ts";
import type { RunLog } from "../../worker-node/journal/run-log.ts";
import { publishLive } from "../../worker-node/clients/publish.ts";
import { acceptBenchRuns } from "./runs.ts";
import { withCpu } from "./cpu.ts";
import type { BenchEdge } from "./edge.ts";
import { latencyRows } from "./stats.ts";
import type { Row } from "./stats.ts";

/** Events as a streaming model makes them, and the number of viewers of one run. */
const LOADS = [
  { viewers: 1, events: 300, everyMs: 10, mark: "<= 5" },
  { viewers: 200, events: 100, everyMs: 50, mark: undefined },
];
const WARM_EVENTS = 20;
const ALL_SEEN_MS = 10_000;

/**
 * Commit to client: from the reply to the flush in the worker's journal until a viewer of the stream has received the
 * bytes. Both are in this process, so they have one clock.
 */
export async function benchEvents(stores: { sql: Sql; redis: Redis }, edge: BenchEdge): Promise<Row[]> {
  const rows: Row[] = [];
  for (const { viewers, events, everyMs, mark } of LOADS) {
    const what = `commit to client, ${viewers} viewer${viewers > 1 ? "s" : ""}`;
    const watch = new Watch();
    const { run, log } = await openRun(stores, watch);
    for (let i = 0; i < viewers; i++) await watch.join(edge, run);
    try {
      await write(log, WARM_EVENTS, everyMs);
      await watch.untilSeen(WARM_EVENTS);
      const { usedMs } = await withCpu(edge.watched, async () => {
        await write(log, events, everyMs);
        await watch.untilSeen(WARM_EVENTS + events);
      });
      rows.push(...latencyRows(what, watch.latenciesMs(WARM_EVENTS), mark));
      for (const [name, ms] of usedMs) {
        rows.push({ what: `  processor time of ${name}`, figure: (ms * 1_000) / events, unit: "us/event" });
      }
    } finally {
      watch.leave();
    }
  }
  return rows;
}

/** A run that this process executes with a worker's journal. */
async function openRun(
  { sql, redis }: { sql: Sql; redis: Redis },
  watch: Watch,
): Promise<{ run: RunId; log: RunLog }> {
  const run = newRunId(Date.now());
  const owner = newIncarnation("bench");
  await acceptBenchRuns(sql, [run]);
  const [claimed] = await claimRuns(sql, owner, [run]);
  if (!claimed) throw new Error("the run was not claimed");
  const publish = publishLive(redis, 1);
  const journal = new Journal(owner, stateStore(sql), (entries) => {
    for (const entry of entries) watch.committed(entry.seq);
    publish(entries);
  });
  return { run, log: journal.open(claimed, new AbortController()) };
}

/** Commits entries of one event each. */
async function write(log: RunLog, events: number, everyMs: number): Promise<void> {
  for (let i = 0; i < events; i++) {
    await log.append({
      kind: "note",
      step_path: "s1",
      deadline_ms: 60_000,
      events: [{ type: "llm_delta", orch_step_id: "s1", text: "a few words of a model's answer " }],
    });
    await sleep(everyMs);
  }
}

/** When each event was committed, and when each viewer received it. */
class Watch {
  readonly #committedMs = new Map<number, number>();
  readonly #seen: { seq: number; ms: number }[] = [];
  readonly #streams: IncomingMessage[] = [];
  #cut = 0;

  committed(seq: number): void {
    this.#committedMs.set(seq, performance.now());
  }

  async join({ port, key }: BenchEdge, run: RunId): Promise<void> {
    const path = `/api/v2/orchestrations/runs/${run}/stream`;
    const request = get({ port, path, headers: { authorization: `Bearer ${key}` }, agent: false });
    const answered: IncomingMessage[] = await once(request, "response", {
      signal: AbortSignal.timeout(10_000),
    });
    for (const stream of answered) {
      if (stream.statusCode !== 200) throw new Error(`the stream answered ${stream.statusCode}`);
      this.#streams.push(stream);
      stream.once("end", () => this.#cut++);
      stream.on("error", () => {});
      stream.on("data", (bytes: Buffer) => {
        const ms = performance.now();
        for (const [, seq] of bytes.toString().matchAll(/^id: \d+-(\d+)$/gm)) {
          this.#seen.push({ seq: Number(seq), ms });
        }
      });
    }
  }

  /** Waits until every viewer has `events` events. */
  async untilSeen(events: number): Promise<void> {
    const all = events * this.#streams.length;
    for (const endMs = performance.now() + ALL_SEEN_MS; this.#seen.length < all; await sleep(5)) {
      if (performance.now() > endMs || this.#cut > 0)
        throw new Error(`${this.#seen.length} of ${all} frames were received; ${this.#cut} streams were cut`);
    }
  }

  /** Milliseconds from commit to each viewer, of the events after number `after`. */
  latenciesMs(after: number): number[] {
    const measured = this.#seen.filter(({ seq }) => seq > after);
    return measured.map(({ seq, ms }) => ms - (this.#committedMs.get(seq) ?? NaN));
  }

  leave(): void {
    for (const stream of this.#streams) stream.destroy();
  }
}
