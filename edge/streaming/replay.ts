import type { RunId } from "../../shared/contracts/ids.ts";
import { readEntries } from "../../shared/store/journal/read-journal.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { RETRY, SSE_HEADERS, toBytes } from "./sse.ts";

const PAGE = 200;

/** The events of a finished run after number `after`, out of its journal, at the viewer's pace. */
export function replay(sql: Sql, run: RunId, after: number, eventSeq: number): Response {
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
