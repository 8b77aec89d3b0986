import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import type { Context } from "hono";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import { AppError } from "../../../shared/errors.ts";
import { problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { multiplex, readPositions } from "../../streaming/multiplex.ts";
import type { Part } from "../../streaming/multiplex.ts";
import {
  openEvents,
  authorizedRuns,
  viewerPrincipal,
  lastEventIdOf,
  eventStream,
  StreamHeaders,
  StreamQuery,
  streamOrLater,
} from "../../streaming/open-stream.ts";
import { openFeed } from "../../streaming/open-feed.ts";
import { tenantFilterOf } from "../../http/middleware/principal.ts";
import { invalidFields } from "../../http/problem.ts";
import { noRun } from "../../runs/run-view.ts";

/** The edge opens one internal stream for each run. */
const MAX_RUNS = 20;

const route = createRoute({
  method: "get",
  path: "/api/v2/events/stream",
  operationId: "streamRuns",
  tags: ["Streams"],
  summary: "Watch several runs, or all runs of a tenant",
  description:
    `With \`runs\` (ids separated by commas): server-sent events of up to ${MAX_RUNS} runs, until all have ended. An ` +
    "event's id holds the positions in all of them, in the order of `runs`, so reconnect with the same `runs`. When all " +
    "runs have ended and no event follows `Last-Event-ID`, the answer is 204. With `tenant_id` the runs of other tenants do not exist. Authorise with an API key, or with the " +
    "stream tokens of all these runs: `?token=` takes several, separated by commas. Each run takes a seat; beyond a " +
    "tenant's or key's share of the seats the answer is 429. One such stream is the way round the six connections that " +
    "a browser opens to a host over HTTP/1.1.\n\n" +
    "Without `runs`: all events of the key's tenant from now on, about a second after they happen; this stream does not " +
    "end. A platform key sees all tenants, or the tenant of `tenant_id`. An event's id is a time. A client that " +
    "reconnects within a day misses no event, and gets the events of the 15 seconds before its id again: recognise " +
    "them by `run_id` and `seq`.",
  security: [{ key: ["runs:read"] }, { token: [] }],
  request: {
    query: StreamQuery.extend({
      runs: z.string().optional().meta({ description: "Ids of runs, separated by commas" }),
      tenant_id: TenantId.optional(),
    }),
    headers: StreamHeaders,
  },
  responses: {
    200: eventStream,
    204: { description: "All runs have ended, and no event follows this id" },
    ...problems(400, 404, 429),
  },
});

export function streamRuns(api: Api): void {
  api.openapi(route, (c) =>
    streamOrLater(() => {
      const { runs, tenant_id, ...query } = c.req.valid("query");
      const lastId = lastEventIdOf(c.req.valid("header"), query);
      return runs === undefined
        ? streamTenant(c, query.token, tenant_id, lastId)
        : streamNamed(c, { tokens: query.token, ids: parseRunIds(runs), tenant: tenant_id }, lastId);
    }),
  );
}

async function streamNamed(
  c: Context<ApiEnv>,
  { tokens, ids, tenant }: { tokens: readonly string[]; ids: readonly RunId[]; tenant: TenantId | undefined },
  lastId: string | undefined,
): Promise<Response> {
  const watched = await authorizedRuns(c, ids, tokens, tenant);
  const positions = readPositions(ids, lastId);
  if (!positions)
    throw new AppError(
      "bad_event_id",
      "Last-Event-ID is not an id of a stream of these runs. Send it with the same `runs` in the same order.",
    );
  const parts = await allOrNone(
    watched.map(async (one, i): Promise<Part> => {
      const { run_id, status, event_seq } = one.row;
      const after = Math.min(positions[i] ?? 0, event_seq);
      const atEnd = TERMINAL.has(status) && after >= event_seq;
      return { run: run_id, after, events: atEnd ? null : (await openEvents(c, one, after)).body };
    }),
  );
  if (parts.every((part) => part.events === null)) return new Response(null, { status: 204 });
  return multiplex(parts);
}

/** Opens all parts, or none: when one fails, the streams of the others are ended, so that they keep no seat. */
async function allOrNone(opening: readonly Promise<Part>[]): Promise<Part[]> {
  try {
    return await Promise.all(opening);
  } catch (error) {
    const opened = await Promise.allSettled(opening);
    for (const part of opened) if (part.status === "fulfilled") void part.value.events?.cancel();
    throw error;
  }
}

/** @throws AppError `forbidden` when a tenant's key names another tenant; `bad_event_id` */
async function streamTenant(
  c: Context<ApiEnv>,
  tokens: readonly string[],
  requestedTenant: TenantId | undefined,
  lastId: string | undefined,
): Promise<Response> {
  const principal = await viewerPrincipal(c, tokens);
  const tenant = tenantFilterOf(principal, requestedTenant);
  return openFeed(c, principal, tenant, lastId);
}

function parseRunIds(list: string): RunId[] {
  const ids = [...new Set(list.split(",").map((id) => id.trim()))];
  if (ids.includes("")) throw invalidRuns("must be run ids separated by commas, without an empty one");
  if (ids.length > MAX_RUNS) throw invalidRuns(`may hold at most ${MAX_RUNS} run ids`);
  return ids.map((id) => {
    const run = RunId.safeParse(id);
    if (!run.success) throw noRun(id.slice(0, 100));
    return run.data;
  });
}

function invalidRuns(message: string): AppError {
  return invalidFields([{ path: "runs", message }]);
}
