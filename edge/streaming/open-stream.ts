import type { Context } from "hono";
import type { RunId } from "../../shared/contracts/ids.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import { readEntries } from "../../shared/store/journal/read-journal.ts";
import type { RunRow } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { ApiEnv } from "../http/api.ts";
import { RETRY, SSE_HEADERS, toBytes } from "./sse.ts";

/** Entries in a page of the journal. */
const PAGE = 200;

/**
 * Streams the events of a run after number `after`: of a terminal run from the journal, of any other from its
 * relay.
 */
export async function openEvents(c: Context<ApiEnv>, row: RunRow, after: number): Promise<Response> {
  const { sql, relay } = c.get("services");
  if (TERMINAL.has(row.status)) return replay(sql, row.run_id, after, row.event_seq);
  return relay(row.run_id, after, c.req.raw.signal);
}

/** Reads a terminal run's journal a page at a time, as fast as the viewer takes it. */
function replay(sql: Sql, run: RunId, after: number, eventSeq: number): Response {
  let last = after;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(RETRY),
    async pull(controller) {
      const page = await readEntries(sql, run, last, PAGE);
      for (const entry of page) {
        controller.enqueue(toBytes(run, { entry, from: last + 1 }));
        last = entry.seq;
      }
      if (page.length === 0 || last >= eventSeq) controller.close();
    },
  });
  return new Response(body, { headers: SSE_HEADERS });
}
