import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import type { Context } from "hono";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import type { Principal } from "../../../shared/contracts/tenant.ts";
import { AppError } from "../../../shared/errors.ts";
import { problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { isDatabaseAway } from "../../clients/postgres.ts";
import { reconnectLater } from "../../streaming/sse.ts";
import { multiplex, readPositions } from "../../streaming/multiplex.ts";
import { openEvents } from "../../streaming/open.ts";
import { openTenantFeed } from "../../streaming/tenant-feed.ts";
import { tenantOf } from "../../http/middleware/principal.ts";
import { viewerPrincipal } from "../../streaming/access.ts";
import { findRun, noRun } from "../../runs/run-view.ts";

/** Each run is a stream of its own behind this one. */
const MAX_RUNS = 20;

const route = createRoute({
  method: "get",
  path: "/api/v2/events/stream",
  summary: "Watch several runs, or all of a tenant",
  description:
    `With \`runs\`: server-sent events of up to ${MAX_RUNS} runs, until all have ended. Ids are the positions in all ` +
    "of them, in the order of `runs`: come back with the same `runs`. 204: there is nothing after that id.\n\n" +
    "Without: all events of the key's tenant from now on, without an end, a second or so after they happen. A platform " +
    "key sees all tenants, or the one of `tenant_id`. Ids are times; who comes back within a day with one misses " +
    "nothing and gets the events of the last 15 seconds again: they are known by `run_id` and `seq`.",
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
    200: { description: "The events", content: { "text/event-stream": { schema: z.string() } } },
    204: { description: "All runs have ended and there is nothing after this id" },
    ...problems(400, 404, 422),
  },
});

export function streamRuns(api: Api): void {
  api.openapi(route, async (c) => {
    const { runs, tenant_id, token, last_event_id } = c.req.valid("query");
    const lastId = c.req.valid("header")["last-event-id"] ?? last_event_id;
    try {
      const principal = await viewerPrincipal(c, token);
      if (runs === undefined) return await tenantFeed(c, principal, tenant_id, lastId);
      const ids = namedRuns(runs);
      const positions = readPositions(ids, lastId);
      if (!positions)
        throw new AppError("bad_event_id", "Last-Event-ID is not an id of a stream of these runs.");
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
      if (isDatabaseAway(error)) return reconnectLater();
      throw error;
    }
  });
}

/** @throws AppError `forbidden` when a tenant's key names another tenant; `bad_event_id` */
async function tenantFeed(
  c: Context<ApiEnv>,
  principal: Principal,
  named: TenantId | undefined,
  lastId: string | undefined,
): Promise<Response> {
  const tenant = principal.tenant === null ? (named ?? null) : tenantOf(principal, named, principal.tenant);
  return openTenantFeed(c.get("services").sql, tenant, lastId, c.req.raw.signal);
}

function namedRuns(list: string): RunId[] {
  const ids = [...new Set(list.split(","))];
  if (ids.includes("")) throw notRuns("must be ids of runs with commas between");
  if (ids.length > MAX_RUNS) throw notRuns(`may name at most ${MAX_RUNS} runs`);
  return ids.map((id) => {
    const run = RunId.safeParse(id);
    if (!run.success) throw noRun();
    return run.data;
  });
}

function notRuns(message: string): AppError {
  return new AppError("invalid", "Not valid: runs.", { fields: [{ path: "runs", message }] });
}
