import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import type { EntryLines } from "../../../shared/events/lines.ts";
import type { RunRow } from "../../../shared/store/runs/read-runs.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { logLinesOf } from "../../runs/log-lines.ts";
import type { LogFormat } from "../../runs/log-lines.ts";
import { readRunEntries } from "../../runs/run-journal.ts";
import type { JournalStores } from "../../runs/run-journal.ts";
import { findRun } from "../../runs/run-view.ts";

const PAGE_ENTRIES = 500;
const TYPES: { [format in LogFormat]: string } = {
  text: "text/plain; charset=utf-8",
  ndjson: "application/x-ndjson",
};

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/log",
  operationId: "getRunLog",
  tags: ["Runs"],
  summary: "Read the log of a run",
  description:
    "What the run has committed so far, a line for each event: its time, its type, the step, and its fields. `text` leaves out the " +
    "pieces of model text (`llm_delta`); `ndjson` has every event as JSON, the same as its SSE data.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: z.object({ run_id: z.string() }),
    query: z.object({ format: z.enum(["text", "ndjson"]).default("text") }),
  },
  responses: {
    200: {
      description: "The lines",
      content: { [TYPES.text]: { schema: z.string() }, [TYPES.ndjson]: { schema: z.string() } },
    },
    ...problems(404),
  },
});

export function getRunLog(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { format } = c.req.valid("query");
    const run = await findRun(services.sql, c.get("principal"), c.req.valid("param").run_id);
    const headers = {
      "content-type": TYPES[format],
      "x-content-type-options": "nosniff",
      "cache-control": "private, no-cache",
    };
    // The first page is read before the response begins: while the archive is away, the response is a 503.
    const first = await readRunEntries(services, run.run_id, 0, PAGE_ENTRIES);
    return new Response(linesOf(services, run, format, first), { headers });
  });
}

/** The lines of all events that the run has now, at least. It reads one page of the journal at a time, as fast as the client reads. */
function linesOf(
  stores: JournalStores,
  { run_id, event_seq }: RunRow,
  format: LogFormat,
  first: EntryLines[],
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let after = 0;
  const read = async (): Promise<EntryLines[]> => {
    if (after === 0) return first;
    return after < event_seq ? readRunEntries(stores, run_id, after, PAGE_ENTRIES) : [];
  };
  return new ReadableStream(
    {
      async pull(controller) {
        // `pull` is called again only after something was written, so pages without a line are skipped within one call.
        for (let text = ""; text === "";) {
          const entries = await read();
          const last = entries.at(-1);
          if (last === undefined) return controller.close();
          after = last.seq;
          text = entries.map((entry) => logLinesOf(run_id, entry, format)).join("");
          if (text !== "") controller.enqueue(encoder.encode(text));
        }
      },
    },
    { highWaterMark: 0 },
  );
}
