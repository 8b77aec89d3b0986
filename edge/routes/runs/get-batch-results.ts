import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import type { BatchId } from "../../../shared/contracts/batch.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import { log, messageOf } from "../../../shared/log.ts";
import { listBatchRuns } from "../../../shared/store/runs/batches.ts";
import { readRun } from "../../../shared/store/runs/read-runs.ts";
import { inOneLine } from "../../../shared/text/one-line.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { findBatch } from "../../runs/batch-view.ts";
import type { JournalStores } from "../../runs/run-journal.ts";
import { resultOf } from "../../runs/run-result.ts";

/** The runs of one page. Their results are read one by one, so one result is in memory at a time. */
const PAGE = 50;

const route = createRoute({
  method: "get",
  path: "/api/v2/batches/{batch_id}/results",
  operationId: "getBatchResults",
  tags: ["Runs"],
  summary: "Read the results of a batch",
  description:
    "One JSON object a line, in the order of the items: `index`, and the result of the item's run, or only its `run_id` and " +
    "`status` while the run has not ended. Values over 32 KiB are references whose `url` opens them. Items that started no " +
    "run are in `GET /batches/{batch_id}`. A response that is cut has no line that is not whole.",
  security: [{ key: ["runs:read"] }],
  request: { params: z.object({ batch_id: z.string() }) },
  responses: {
    200: { description: "The results", content: { "application/x-ndjson": { schema: z.string() } } },
    ...problems(404),
  },
});

/**
 * Adds the route. It is documented like every route, but not added by `api.openapi`, which takes a media type with `json` in its name
 * for a single JSON value.
 */
export function getBatchResults(api: Api): void {
  api.openAPIRegistry.registerPath(route);
  api.get(route.getRoutingPath(), needs("runs:read"), async (c) => {
    const services = c.get("services");
    const { batch_id } = await findBatch(services.sql, c.get("principal"), c.req.param("batch_id") ?? "");
    const headers = { "content-type": "application/x-ndjson; charset=utf-8" };
    return new Response(streamOf(linesOf(services, batch_id)), { headers });
  });
}

async function* linesOf(stores: JournalStores, batch: BatchId): AsyncGenerator<string> {
  let after = -1;
  for (;;) {
    const page = await listBatchRuns(stores.sql, batch, after, PAGE);
    for (const { run_id, batch_index } of page) yield await lineOf(stores, run_id, batch_index);
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    after = last.batch_index;
  }
}

async function lineOf(stores: JournalStores, run: RunId, index: number): Promise<string> {
  const row = await readRun(stores.sql, null, run);
  if (!row) return "";
  const shown = TERMINAL.has(row.status) ? await resultOf(stores, row) : { run_id: run, status: row.status };
  return `${inOneLine(JSON.stringify({ index, ...shown }))}\n`;
}

/** A body that reads a line only when the client has taken the line before. */
function streamOf(lines: AsyncGenerator<string>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      try {
        const next = await lines.next();
        if (next.done) controller.close();
        else controller.enqueue(encoder.encode(next.value));
      } catch (error) {
        log.warn("batch.results_cut", { message: messageOf(error) });
        controller.error(error);
      }
    },
    async cancel() {
      await lines.return(undefined);
    },
  });
}
