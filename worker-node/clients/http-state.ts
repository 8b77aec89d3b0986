import { createHmac } from "node:crypto";
import { z } from "zod";
import { remoteStateStore } from "../../shared/store/state.ts";
import type { StateStore } from "../../shared/store/state.ts";

/** Longer than the edge's own limit for a statement, so that the edge says what went wrong. */
const TIMEOUT_MS = 10_000;

/** What the edge answers to arguments that it will never take: a data exception, not a lost connection. */
const UNREADABLE: ReadonlySet<number> = new Set([400, 413, 422]);

const Refusal = z.object({ sqlstate: z.string().nullable().optional() });

/** An answer of the edge that is not a result. `code` is Postgres' SQLSTATE, when Postgres said it. */
class StateError extends Error {
  readonly code: string;

  constructor(verb: string, status: number, code: string) {
    super(`the edge answered ${status} to ${verb}`);
    this.name = "StateError";
    this.code = code;
  }
}

/**
 * The state of runs through the edge's internal route and its Hyperdrive: for workers that cannot reach Postgres
 * themselves. Each request is signed: HMAC-SHA256 over `<unix seconds>.<verb>.<body>`.
 */
export function edgeStateStore(edgeUrl: string, secret: string): StateStore {
  return remoteStateStore(async (verb, args) => {
    const body = JSON.stringify(args);
    const at = Math.floor(Date.now() / 1000);
    const mac = createHmac("sha256", secret).update(`${at}.${verb}.${body}`).digest("hex");
    const response = await fetch(new URL(`/internal/state/${verb}`, edgeUrl), {
      method: "POST",
      headers: { "content-type": "application/json", "x-synapse-signature": `t=${at},v1=${mac}` },
      body,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const answer: unknown = await response.json().catch(() => null);
    if (response.ok) return answer;
    const refusal = Refusal.safeParse(answer);
    const sqlstate = refusal.success ? refusal.data.sqlstate : null;
    throw new StateError(
      verb,
      response.status,
      sqlstate ?? (UNREADABLE.has(response.status) ? "22000" : "08006"),
    );
  });
}
