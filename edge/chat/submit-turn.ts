import { endUserOf } from "../../shared/contracts/budget.ts";
import { baseOf, newRunId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun, RunInput, SubmitResult } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import { reserveBase } from "../../shared/store/chat/sessions.ts";
import { readOpenTurns } from "../../shared/store/chat/turn-order.ts";
import { cancel } from "../runs/cancel.ts";
import { fingerprintOf } from "../runs/request-fingerprint.ts";
import { submitUntilRoom } from "../runs/submit-until-room.ts";
import { wakeNextTurn } from "../runs/wake-turn.ts";
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

async function runOfTurn(
  services: Pick<Services, "config" | "sql">,
  { session, tenant, definition }: Opening,
  base: string,
  body: ChatRequest,
  key: string | null,
): Promise<NewRun> {
  const run = newRunId(Number(base));
  const { message, webhook_secret } = body;
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
  const { agent, session_id, attachments, metadata, correlation_id, on_busy } = body;
  // A field that is undefined is no part of the fingerprint: it is the same whether the client sends a default or leaves it out.
  const requested = {
    agent: agent ?? undefined,
    session_id: session_id || undefined,
    message,
    images,
    metadata: Object.keys(metadata ?? {}).length > 0 ? metadata : undefined,
    correlation_id: correlation_id ?? undefined,
    on_busy: on_busy === "enqueue" ? undefined : (on_busy ?? undefined),
    ...(files.length > 0 && { attachments }),
  };
  const input: RunInput = {
    message,
    state: {},
    ...(images.length > 0 && { images }),
    ...(files.length > 0 && { attachments: files }),
  };
  const meaning = { tenant, priority: routing.priority, ...requested, url: webhook.webhook_url };
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
 * Cancels the turns that an accepted turn does not wait for, and wakes the next turn. With `on_busy: "interrupt"` these are all earlier
 * turns of the session, the newest first, so that none of them begins when the turn under way ends. Otherwise it is an earlier turn that
 * waits for a person's answer: the new message comes in place of the answer.
 *
 * Never throws, because the turn is accepted: after a failure it waits for the turns that are left.
 */
export async function cancelEarlierTurns(
  services: Services,
  { tenant, session }: Opening,
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
