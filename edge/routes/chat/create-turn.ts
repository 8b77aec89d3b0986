import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { RunId, SessionId, plainName } from "../../../shared/contracts/ids.ts";
import { sessionOfTurn } from "../../../shared/store/chat/turns.ts";
import { ChatRequest } from "../../chat/chat-request.ts";
import { openingOf, placeOf } from "../../chat/open-turn.ts";
import { noSession } from "../../chat/session-view.ts";
import { cancelEarlierTurns, earlierResult, submitTurn } from "../../chat/submit-turn.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { limitBodyMemory, withinBodyMemory } from "../../http/body-memory.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { refuseDeletedTenant } from "../../http/require-tenant.ts";
import { HeldResult, requireWorker } from "../../runs/hold-until-end.ts";
import { RunResult } from "../../runs/run-result.ts";
import { waitForEnd } from "../../runs/wait-for-end.ts";
import { refusedError } from "../../http/problem.ts";

/** The most MiB of a request: the images are in it. */
export const MAX_CHAT_MIB = 10;

const TurnAccepted = z
  .object({
    session_id: SessionId,
    turn_id: RunId,
    status: z.literal("queued"),
    stream_url: z.string(),
    status_url: z.string(),
  })
  .meta({ id: "ChatTurn" });

const TurnResult = RunResult.and(z.object({ turn_id: RunId })).meta({ id: "ChatTurnResult" });

const route = createRoute({
  method: "post",
  path: "/api/v2/chat",
  operationId: "createChatTurn",
  tags: ["Chat"],
  summary: "Send a message to an agent",
  description:
    "Without `session_id` a new session begins, with the agent `agent` or, without one, the first agent by name. After a 202 " +
    "the message is in the history, and the turn will reach an end. A turn is a run in the lane `interactive`: all routes of " +
    "runs take its `turn_id`. The turns of a session run one after the other. While one has not ended, `on_busy` decides: " +
    "`enqueue` (default) waits for it; `interrupt` cancels the turn that is under way, which keeps its text so far, and those that wait: it is the next one; " +
    "`reject` is a 409. A turn that waits for a person is cancelled by the next message. `Prefer: wait=N` and scale mode off act " +
    "as for `POST /orchestrations/{id}/run`: the result then has the `turn_id` too. " +
    "`attachments` are uploads: the model gets text, JSON and the like as text, and PNG, JPEG, GIF and WebP as images; others are a 422.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), waitForEnd, limitBodyMemory, jsonBody({ schema: ChatRequest })] as const,
  request: {
    headers: z.object({
      "idempotency-key": plainName(255).optional(),
      prefer: z.string().optional().meta({ description: "`wait=N`, `handling=lenient`, or both" }),
    }),
    body: { required: true, content: { "application/json": { schema: ChatRequest } } },
  },
  responses: {
    200: json(z.union([TurnResult, HeldResult]), "The turn has ended while the request waited"),
    202: json(TurnAccepted, "Accepted"),
    ...problems(400, 404, 409, 413, 415, 429),
  },
});

export function createTurn(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const body = c.req.valid("json");
    const principal = c.get("principal");
    const owner = tenantFilterOf(principal, body.tenant_id ?? undefined);
    const place = await placeOf(services.sql, owner, services.config.DEFAULT_TENANT_ID, body);
    const key = c.req.valid("header")["idempotency-key"] ?? null;
    const opening = await openingOf(services.sql, place, body).catch(async (error: unknown) => {
      const earlier = key === null ? null : await earlierResult(services, place.tenant, body, key);
      if (earlier === null) throw error;
      return earlier;
    });
    // The keys of a tenant are revoked with it. A turn's session is saved before its run is admitted.
    if (principal.tenant === null) await refuseDeletedTenant(services.sql, place.tenant);
    await requireWorker(services, "interactive");
    const acceptTurn = async () => ("is" in opening ? opening : submitTurn(services, opening, body, key));
    const result = await (principal.tenant === null
      ? withinBodyMemory(c, place.tenant, acceptTurn)
      : acceptTurn());
    if (result.is === "refused") throw refusedError(result);
    if (result.quota) c.set("quota", result.quota);
    if (result.replayed) c.header("Idempotent-Replayed", "true");
    const session =
      result.replayed || "is" in opening ? await sessionOfTurn(services.sql, result.run_id) : opening.session;
    if (session === null) throw noSession();
    // The edge may have died before it cancelled the turns that the first request interrupted.
    const isLeftOver = result.replayed && body.on_busy === "interrupt";
    if (result.waits || isLeftOver)
      await cancelEarlierTurns(services, { tenant: place.tenant, session }, result.run_id, body);
    const url = `/api/v2/chat/${session}`;
    const accepted = { session_id: session, turn_id: result.run_id, status: "queued" as const };
    return c.json({ ...accepted, stream_url: `${url}/stream`, status_url: `${url}/status` }, 202);
  });
}
