import { endUserOf } from "../../shared/contracts/budget.ts";
import { baseOf, newRunId } from "../../shared/contracts/ids.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun, RunInput, SubmitResult } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import { reserveBase } from "../../shared/store/chat/sessions.ts";
import { readOpenTurns } from "../../shared/store/chat/turn-order.ts";
import { findIdempotent } from "../../shared/store/runs/accept-runs.ts";
import type { Config } from "../env.ts";
import { cancel } from "../runs/cancel.ts";
import { fingerprintOf } from "../runs/request-fingerprint.ts";
import { replayOf } from "../runs/submit-result.ts";
import { submitUntilRoom } from "../runs/submit-until-room.ts";
import { wakeNextTurn } from "../runs/wake-turn.ts";
import { outboundUrl } from "../http/outbound-url.ts";
import { webhookOf } from "../runs/webhook-request.ts";
import type { Services } from "../services.ts";
import { filesOfTurn } from "./attached-files.ts";
import type { ChatRequest } from "./chat-request.ts";
import type { Opening } from "./open-turn.ts";
import { noSession } from "./session-view.ts";

/** The most turns that one interrupt cancels. */
const MAX_INTERRUPTED = 1_000;
/** A turn is submitted again when another turn of its session with a later base was committed first, this often at most. */
const MAX_OUTRUN = 20;

/**
 * Submits a turn under a base of its own, as a run (docs/protocol.md 5.14).
 * @throws AppError `not_found` when the session has been deleted meanwhile, or for an attachment that does not exist; `invalid`
 */
export async function submitTurn(
  services: Services,
  opening: Opening,
  body: ChatRequest,
  key: string | null,
): Promise<SubmitResult> {
  for (let outrun = 0; ; outrun++) {
    const base = await reserveBase(services.sql, { ...opening, base: String(Date.now()) });
    if (base === null) throw noSession();
    const run = await runOfTurn(services, opening, base, body, key);
    const result = await submitUntilRoom(services.submit, run);
    if (result.is !== "refused" || result.code !== "conflict" || outrun === MAX_OUTRUN) return result;
  }
}

/**
 * The result that an earlier request got under the same Idempotency-Key, for a request that cannot be submitted, because its agent was
 * deleted since; null: there was none.
 */
export async function earlierResult(
  { sql, config }: Pick<Services, "config" | "sql">,
  tenant: TenantId,
  body: ChatRequest,
  key: string,
): Promise<SubmitResult | null> {
  const earlier = await findIdempotent(sql, tenant, key);
  return earlier && replayOf(earlier, await requestHashOf(tenant, body, config), "Idempotency-Key");
}

async function runOfTurn(
  services: Pick<Services, "config" | "sql">,
  { session, tenant, definition }: Opening,
  base: string,
  body: ChatRequest,
  key: string | null,
): Promise<NewRun> {
  const run = newRunId(Number(base));
  const { message } = body;
  const images = body.images ?? [];
  const { config } = services;
  const files = await filesOfTurn(services, tenant, run, body);
  const webhook = await webhookOf(body, run, config);
  const routing = {
    tenant_id: tenant,
    orchestration_id: definition.id,
    lane: "interactive" as const,
    priority: body.priority ?? 0,
    delay_ms: 0,
  };
  const { metadata, correlation_id, on_busy } = body;
  const input: RunInput = {
    message,
    state: {},
    ...(images.length > 0 && { images }),
    ...(files.length > 0 && { attachments: files }),
  };
  return {
    ...routing,
    run_id: run,
    session_id: session,
    correlation_id: correlation_id ?? run,
    triggered_by: "api",
    input: JSON.stringify(input),
    metadata: JSON.stringify(metadata ?? {}),
    end_user: endUserOf(metadata ?? {}),
    idempotency_key: key,
    request_hash: key === null ? null : await requestHashOf(tenant, body, config),
    ...webhook,
    turn: {
      session,
      definition_tenant: definition.owner,
      definition_version: definition.version,
      rejects_busy: on_busy === "reject",
      ...(on_busy === "interrupt" && { interrupts: true as const }),
    },
  };
}

/** The fingerprint of a turn's request. A field that is undefined is no part of it: a default that the client sends changes nothing. */
function requestHashOf(tenant: TenantId, body: ChatRequest, config: Config): Promise<string> {
  const { agent, session_id, message, attachments, metadata, correlation_id, on_busy, webhook_url } = body;
  const meaning = {
    tenant,
    priority: body.priority ?? 0,
    agent: agent ?? undefined,
    session_id: session_id || undefined,
    message,
    images: body.images ?? [],
    metadata: Object.keys(metadata ?? {}).length > 0 ? metadata : undefined,
    correlation_id: correlation_id ?? undefined,
    on_busy: on_busy === "enqueue" ? undefined : (on_busy ?? undefined),
    ...((attachments ?? []).length > 0 && { attachments }),
    url: webhook_url ? outboundUrl(webhook_url, "webhook_url", config) : null,
  };
  return fingerprintOf(meaning, body.webhook_secret ?? null, config);
}

/**
 * Cancels the turns that an accepted turn does not wait for, and wakes the next turn. With `on_busy: "interrupt"` these are all earlier
 * turns of the session, the newest first, so that none of them begins when the turn under way ends. Otherwise it is an earlier turn that
 * waits for a person's answer: the new message comes in place of the answer.
 *
 * Never throws, because the turn is accepted: after a failure it waits for the turns that are left.
 */
export async function cancelEarlierTurns(
  services: Services,
  { tenant, session }: Pick<Opening, "tenant" | "session">,
  turn: RunId,
  { on_busy }: ChatRequest,
): Promise<void> {
  try {
    const interrupts = on_busy === "interrupt";
    const open = await readOpenTurns(services.sql, session, interrupts ? MAX_INTERRUPTED : 1);
    const earlier = open.filter(({ run_id }) => baseOf(run_id) < baseOf(turn));
    const cancelled = interrupts ? earlier.toReversed() : earlier.filter(({ asks }) => asks);
    for (const { run_id } of cancelled) await cancel(services, tenant, run_id);
  } catch (error) {
    log.warn("chat.not_interrupted", { run: turn, tenant, session, message: messageOf(error) });
  }
  services.waitUntil(wakeNextTurn(services, session));
}
