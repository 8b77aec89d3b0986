import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import {
  DefinitionId,
  RunId,
  SessionId,
  TenantId,
  newRunId,
  plainName,
} from "../../../shared/contracts/ids.ts";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import type { NewRun, SubmitResult } from "../../../shared/contracts/run.ts";
import { WebhookSecret, WebhookUrl } from "../../../shared/contracts/webhook.ts";
import { AppError } from "../../../shared/errors.ts";
import { log, messageOf } from "../../../shared/log.ts";
import { reserveBase } from "../../../shared/store/chat/sessions.ts";
import { sessionOfTurn } from "../../../shared/store/chat/turns.ts";
import { readOpenTurns } from "../../../shared/store/chat/turn-order.ts";
import { openingOf } from "../../chat/open-turn.ts";
import type { Opening } from "../../chat/open-turn.ts";
import { noSession } from "../../chat/session-view.ts";
import type { Config } from "../../env.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { holdBody, whileHeld } from "../../http/held-bodies.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { refusedError } from "../../http/problem.ts";
import { cancel } from "../../runs/cancel.ts";
import { fingerprintOf } from "../../runs/request-fingerprint.ts";
import { submitUntilRoom } from "../../runs/submit-until-room.ts";
import { wakeNextTurn } from "../../runs/wake-turn.ts";
import { webhookOf } from "../../runs/webhook-request.ts";
import type { Services } from "../../services.ts";

/** The most MiB of a request: the images are in it. */
export const MAX_CHAT_MIB = 10;
const MAX_IMAGES = 5;
const MAX_MESSAGE_CHARS = 256 * 1024;

/** Postgres stores neither in a text. */
const Message = z
  .string()
  .max(MAX_MESSAGE_CHARS)
  .refine((text) => !text.includes("\0"), "must not contain the character U+0000")
  .refine((text) => text.isWellFormed(), "must not contain half of a surrogate pair");

const Image = z
  .string()
  .regex(
    /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}$/,
    "must be a data URI of a PNG, JPEG, GIF or WebP image: data:image/png;base64,…",
  );

const ChatRequest = z
  .looseObject({
    message: Message,
    agent: DefinitionId.nullish(),
    session_id: z.string().nullish(),
    images: z.array(Image).max(MAX_IMAGES, `may have at most ${MAX_IMAGES} images`).nullish(),
    priority: z.number().int().min(0).max(10).nullish(),
    tenant_id: TenantId.nullish(),
    webhook_url: WebhookUrl.nullish(),
    webhook_secret: WebhookSecret.nullish(),
    metadata: JsonRecord.nullish(),
    correlation_id: plainName(200).nullish(),
    on_busy: z.enum(["enqueue", "reject", "interrupt"]).nullish(),
  })
  .refine(({ message, images }) => message.trim() !== "" || (images ?? []).length > 0, {
    path: ["message"],
    message: "must not be empty without images",
  })
  .meta({ id: "ChatRequest" });
type ChatRequest = z.infer<typeof ChatRequest>;

const TurnAccepted = z
  .object({
    session_id: SessionId,
    turn_id: RunId,
    status: z.literal("queued"),
    stream_url: z.string(),
    status_url: z.string(),
  })
  .meta({ id: "ChatTurn" });

const route = createRoute({
  method: "post",
  path: "/api/v2/chat",
  operationId: "createChatTurn",
  tags: ["Chat"],
  summary: "Say something to an agent",
  description:
    "Without `session_id` a new session begins, with the agent `agent` or, without one, the first agent by name. After a 202 " +
    "the message is in the history, and the turn will reach an end. A turn is a run in the lane `interactive`: all routes of " +
    "runs take its `turn_id`. The turns of a session run one after the other. While one has not ended, `on_busy` decides: " +
    "`enqueue` (default) waits for it; `interrupt` cancels the turn that is under way, which keeps its text so far; " +
    "`reject` is a 409. A turn that waits for a person is cancelled by the next message.",
  security: [{ key: ["runs:write"] }],
  // First the limits of all requests, then the body.
  middleware: [
    needs("runs:write"),
    holdBody,
    jsonBody({ schema: ChatRequest, notYet: ["attachments"] }),
  ] as const,
  request: {
    headers: z.object({ "idempotency-key": plainName(255).optional() }),
    body: { required: true, content: { "application/json": { schema: ChatRequest } } },
  },
  responses: { 202: json(TurnAccepted, "Accepted"), ...problems(400, 404, 409, 413, 415, 422, 429) },
});

export function createTurn(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const body = c.req.valid("json");
    refuseAttachments(body["attachments"]);
    const principal = c.get("principal");
    const owner = tenantFilterOf(principal, body.tenant_id ?? undefined);
    const opening = await openingOf(services.sql, owner, services.config.DEFAULT_TENANT_ID, body);
    const { tenant } = opening;
    const key = c.req.valid("header")["idempotency-key"] ?? null;
    const submitted = () => submitTurn(services, opening, body, key);
    const result = await (principal.tenant === null ? whileHeld(c, tenant, submitted) : submitted());
    if (result.is === "refused") throw refusedError(result);
    if (result.replayed) c.header("Idempotent-Replayed", "true");
    if (result.waits) await afterBusy(services, tenant, opening.session, result.run_id, body);
    const session = result.replayed ? await sessionOfTurn(services.sql, result.run_id) : opening.session;
    if (session === null) throw noSession();
    const url = `/api/v2/chat/${session}`;
    const accepted = { session_id: session, turn_id: result.run_id, status: "queued" as const };
    return c.json({ ...accepted, stream_url: `${url}/stream`, status_url: `${url}/status` }, 202);
  });
}

function refuseAttachments(attachments: unknown): void {
  if (attachments === undefined || attachments === null) return;
  if (Array.isArray(attachments) && attachments.length === 0) return;
  throw new AppError("not_yet", "Not available yet: attachments.", {
    fields: [{ path: "attachments", message: "is not available yet" }],
  });
}

/** How often a turn is submitted again because another turn of its session got a later base first. */
const MAX_OUTRUN = 20;

async function submitTurn(
  services: Services,
  opening: Opening,
  body: ChatRequest,
  key: string | null,
): Promise<SubmitResult> {
  for (let outrun = 0; ; outrun++) {
    const base = await reserveBase(services.sql, { ...opening, base: String(Date.now()) });
    if (base === null) throw noSession();
    const run = await toRun(opening, base, body, key, services.config);
    const result = await submitUntilRoom(services.submit, run);
    if (result.is !== "refused" || result.code !== "conflict" || outrun === MAX_OUTRUN) return result;
  }
}

async function toRun(
  { session, tenant, definition }: Opening,
  base: string,
  body: ChatRequest,
  key: string | null,
  config: Config,
): Promise<NewRun> {
  const run = newRunId(Number(base));
  const { message, webhook_secret } = body;
  const images = body.images ?? [];
  const webhook = await webhookOf(body, run, config);
  const routing = {
    tenant_id: tenant,
    orchestration_id: definition.id,
    lane: "interactive" as const,
    priority: body.priority ?? 0,
    delay_ms: 0,
  };
  const { agent, session_id, metadata, correlation_id, on_busy } = body;
  const asked = { agent, session_id, message, images, metadata, correlation_id, on_busy };
  const meaning = { tenant, priority: routing.priority, ...asked, url: webhook.webhook_url };
  return {
    ...routing,
    run_id: run,
    session_id: session,
    correlation_id: correlation_id ?? run,
    triggered_by: "api",
    input: JSON.stringify({ message, state: {}, ...(images.length > 0 && { images }) }),
    metadata: JSON.stringify(metadata ?? {}),
    idempotency_key: key,
    request_hash: key === null ? null : await fingerprintOf(meaning, webhook_secret ?? null, config),
    ...webhook,
    turn: {
      session,
      definition_tenant: definition.owner,
      definition_version: definition.version,
      rejects_busy: on_busy === "reject",
    },
  };
}

/**
 * After the accept of a turn that waits: ends the turn under way if it is to be interrupted, or waits for a person, who speaks
 * now. The turn is accepted, so a failure here is no failure of the request: then the turn waits for the other one.
 */
async function afterBusy(
  services: Services,
  tenant: TenantId,
  session: SessionId,
  turn: RunId,
  { on_busy }: ChatRequest,
): Promise<void> {
  try {
    const [underWay] = await readOpenTurns(services.sql, session, 1);
    const ends = on_busy === "interrupt" || underWay?.status === "paused";
    if (underWay && underWay.run_id !== turn && ends) await cancel(services, tenant, underWay.run_id);
  } catch (error) {
    log.warn("chat.not_interrupted", { session, turn, message: messageOf(error) });
  }
  services.waitUntil(wakeNextTurn(services, session));
}
