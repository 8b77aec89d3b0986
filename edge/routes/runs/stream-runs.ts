import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import type { Context } from "hono";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import type { Principal } from "../../../shared/contracts/tenant.ts";
import { AppError } from "../../../shared/errors.ts";
import { problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { isDatabaseUnreachable } from "../../../shared/store/unreachable.ts";
import { reconnectLater } from "../../streaming/sse.ts";
import { multiplex, readPositions } from "../../streaming/multiplex.ts";
import { openEvents } from "../../streaming/open-stream.ts";
import { openTenantFeed } from "../../streaming/tenant-feed.ts";
import { tenantFilterOf } from "../../http/middleware/principal.ts";
import { viewerPrincipal } from "../../streaming/access.ts";
import { findRun, noRun } from "../../runs/run-view.ts";

/** The edge opens one internal stream for each run. */
const MAX_RUNS = 20;

const route = createRoute({
  method: "get",
  path: "/api/v2/events/stream",
  summary: "Watch several runs, or all runs of a tenant",
  description:
    `With \`runs\` (ids separated by commas): server-sent events of up to ${MAX_RUNS} runs, until all have ended. An ` +
    "event's id holds the positions in all of them, in the order of `runs`, so reconnect with the same `runs`. When all " +
    "runs have ended and no event follows `Last-Event-ID`, the answer is 204.\n\n" +
    "Without `runs`: all events of the key's tenant from now on, about a second after they happen; this stream does not " +
    "end. A platform key sees all tenants, or the tenant of `tenant_id`. An event's id is a time. A client that " +
    "reconnects within a day misses no event, and gets the events of the 15 seconds before its id again: recognise " +
    "them by `run_id` and `seq`.",
  security: [{ key: ["runs:read"] }, { token: [] }],
  request: {
    query: z.object({
      runs: z.string().optional(),
      tenant_id: TenantId.optional(),
      token: z.string().optional(),
      last_event_id: z.string().optional(),
    }),
    headers: z.object({ "last-event-id": z.string().optional() }),
  },
  responses: {
    200: { description: "The stream of events", content: { "text/event-stream": { schema: z.string() } } },
    204: { description: "All runs have ended, and no event follows this id" },
    ...problems(400, 404, 422),
  },
});

export function streamRuns(api: Api): void {
  api.openapi(route, async (c) => {
    const { runs, tenant_id, token, last_event_id } = c.req.valid("query");
    const lastId = c.req.valid("header")["last-event-id"] ?? last_event_id;
    try {
      const principal = await viewerPrincipal(c, token);
      if (runs === undefined) return await streamTenant(c, principal, tenant_id, lastId);
      const ids = parseRunIds(runs);
      const positions = readPositions(ids, lastId);
      if (!positions)
        throw new AppError(
          "bad_event_id",
          "Last-Event-ID is not an id of a stream of these runs. Send it with the same `runs` in the same order.",
        );
      const rows = await Promise.all(ids.map((id) => findRun(c.get("services").sql, principal, id)));
      const parts = await Promise.all(
        rows.map(async (row, i) => {
          const after = Math.min(positions[i] ?? 0, row.event_seq);
          const atEnd = TERMINAL.has(row.status) && after >= row.event_seq;
          return { run: row.run_id, after, events: atEnd ? null : (await openEvents(c, row, after)).body };
        }),
      );
      return parts.every((part) => part.events === null)
        ? new Response(null, { status: 204 })
        : multiplex(parts);
    } catch (error) {
      if (isDatabaseUnreachable(error)) return reconnectLater();
      throw error;
    }
  });
}

/** @throws AppError `forbidden` when a tenant's key names another tenant; `bad_event_id` */
async function streamTenant(
  c: Context<ApiEnv>,
  principal: Principal,
  requestedTenant: TenantId | undefined,
  lastId: string | undefined,
): Promise<Response> {
  const tenant = tenantFilterOf(principal, requestedTenant);
  return openTenantFeed(c.get("services").sql, tenant, lastId, c.req.raw.signal);
}

function parseRunIds(list: string): RunId[] {
  const ids = [...new Set(list.split(","))];
  if (ids.includes("")) throw invalidRuns("must be run ids separated by commas, without an empty one");
  if (ids.length > MAX_RUNS) throw invalidRuns(`may hold at most ${MAX_RUNS} run ids`);
  return ids.map((id) => {
    const run = RunId.safeParse(id);
    if (!run.success) throw noRun();
    return run.data;
  });
}

function invalidRuns(message: string): AppError {
  return new AppError("invalid", "Not valid: runs.", { fields: [{ path: "runs", message }] });
}
