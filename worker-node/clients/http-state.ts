import { createHmac } from "node:crypto";
import { z } from "zod";
import { STATE_PATH, remoteStateStore } from "../../shared/store/state.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { STATE_REQUEST_MS } from "../../shared/timing.ts";
import { inCurrentStoreSpan, untraced } from "../tracing/tracing.ts";
import type { CurrentTracing } from "../tracing/tracing.ts";

/** HTTP statuses for arguments that the edge will never accept. They count as a data exception, not as a lost connection. */
const INVALID_ARGUMENTS: ReadonlySet<number> = new Set([400, 413, 422]);

const Refusal = z.object({ sqlstate: z.string().nullable().optional() });

/** A response of the edge that is not a result. `code`: the SQLSTATE that the edge passes on, else one for the same kind of fault. */
class StateError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(verb: string, status: number, code: string) {
    super(`the edge responded ${status} to ${verb}`);
    this.name = "StateError";
    this.status = status;
    this.code = code;
  }
}

/** True when the edge does not know the verb that a worker called: the edge is of an earlier version. */
export function isUnknownVerb(error: unknown): boolean {
  return error instanceof StateError && error.status === 404;
}

/**
 * The state of runs over the edge's internal route and its Hyperdrive: for workers that cannot reach Postgres directly. Each
 * request is signed by HMAC-SHA256: `h1` over `<unix seconds>.<path>.<bytes>`, by which the edge decides whether to read the
 * body, and `v1` over `<unix seconds>.<verb>.<body>`.
 */
export function edgeStateStore(
  edgeUrl: string,
  secret: string,
  tracing: CurrentTracing = untraced,
): StateStore {
  const post = async (verb: string, args: unknown[]): Promise<unknown> => {
    const body = JSON.stringify(args);
    const at = Math.floor(Date.now() / 1000);
    const url = new URL(`${STATE_PATH}/${verb}`, edgeUrl);
    const sign = (text: string) => createHmac("sha256", secret).update(text).digest("hex");
    const head = sign(`${at}.${url.pathname}.${Buffer.byteLength(body)}`);
    const signature = `t=${at},h1=${head},v1=${sign(`${at}.${verb}.${body}`)}`;
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", "x-synapse-signature": signature },
      body,
      signal: AbortSignal.timeout(STATE_REQUEST_MS),
    });
    const reply: unknown = await response.json().catch(() => null);
    if (response.ok) return reply;
    const refusal = Refusal.safeParse(reply);
    const sqlstate = refusal.success ? refusal.data.sqlstate : null;
    throw new StateError(
      verb,
      response.status,
      sqlstate ?? (INVALID_ARGUMENTS.has(response.status) ? "22000" : "08006"),
    );
  };
  return remoteStateStore((operation, args) =>
    inCurrentStoreSpan(tracing, { store: "postgres", operation, args }, () => post(operation, args)),
  );
}
