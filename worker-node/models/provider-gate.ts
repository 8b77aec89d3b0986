import type { ModelName } from "../../shared/contracts/model-name.ts";
import type { ProviderLimit } from "../../shared/contracts/provider-limit.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { keys } from "../../shared/keys.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { Allowed, Outcome, ProviderCall, ProviderCalls } from "../../shared/providers/provider-calls.ts";
import type { ModelAnswer, ModelRequest } from "../engine/ports.ts";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { estimatedInput } from "./call-usage.ts";
import { FreshCopy } from "./fresh-copy.ts";
import type { LimitsLeft, RemoteRequest } from "./limits-left.ts";
import { ProviderWait } from "./provider-wait.ts";

/** How long a call counts that is not renewed, because its worker has died. */
const LEASE_MS = 30_000;
const RENEW_MS = 10_000;

/** The provider did not answer, or not to the end. */
const FAILURES: ReadonlySet<string> = new Set([
  "model_unavailable",
  "model_unreachable",
  "model_timeout",
  "model_cut",
]);

const UNLIMITED: Allowed = { concurrent: 0, requests: 0, tokens: 0 };
const NOTHING_LEFT_OUT: LimitsLeft = { requests: undefined, tokens: undefined };

/**
 * Lets the model calls of this worker begin within what all workers together may ask of a provider: docs/protocol.md 5.25. While
 * Redis cannot be asked, calls begin without it.
 */
export class ProviderGate {
  readonly #calls: ProviderCalls;
  readonly #limits: FreshCopy<ReadonlyMap<string, ProviderLimit>>;
  /** The calls under way whose leases are renewed. */
  readonly #held = new Set<ProviderCall>();
  #timer: NodeJS.Timeout | undefined;

  constructor(calls: ProviderCalls, read: () => Promise<ProviderLimit[]>) {
    this.#calls = calls;
    this.#limits = new FreshCopy("provider_limits", new Map(), async () => limitsByModel(await read()));
  }

  /**
   * Makes a call when it may begin. The operator's limits are of the operator's key: with a key of a tenant only what that
   * key's provider says holds.
   * @param keyOwner whose key the call uses; null: the operator's
   * @throws ProviderWait; else what `make` throws
   */
  async pass(
    name: ModelName,
    keyOwner: TenantId | null,
    request: ModelRequest,
    make: (request: RemoteRequest) => Promise<ModelAnswer>,
  ): Promise<ModelAnswer> {
    const { tenant, effectKey } = request;
    if (tenant === undefined) return make(request);
    const allowed = keyOwner === null ? await this.#allowedOf(name) : UNLIMITED;
    const call = { name, keyOwner, tenant, call: effectKey };
    const tokens = estimatedInput(request);
    const matters = await this.#begin(call, allowed, tokens);
    if (matters) this.#hold(call);
    const beganMs = performance.now();
    let left = NOTHING_LEFT_OUT;
    const onLeft = (said: LimitsLeft): void => {
      left = said;
    };
    const settle = (outcome: Pick<Outcome, "is"> & Partial<Outcome>): void => {
      this.#held.delete(call);
      const isKnown = outcome.is === "answered" && !matters;
      if (isKnown && left.requests === undefined && left.tokens === undefined) return;
      const heldMs = performance.now() - beganMs;
      const all = { heldMs, moreTokens: 0, waitMs: undefined, left, ...outcome };
      this.#calls.settle(call, allowed, all).catch(logged("provider.not_settled"));
    };
    try {
      const answer = await make({ ...request, onLeft });
      const { input_tokens, output_tokens } = answer.usage;
      settle({ is: "answered", moreTokens: input_tokens + output_tokens - tokens });
      return answer;
    } catch (error) {
      settle(outcomeOf(error, request.signal));
      throw error;
    }
  }

  /** The window of a model that the operator has set; null: none. */
  async contextTokensOf(name: ModelName): Promise<number | null> {
    await this.#limits.refresh();
    const [own, ofProvider] = limitsOf(this.#limits.value, name);
    return own?.context_tokens ?? ofProvider?.context_tokens ?? null;
  }

  async #allowedOf(name: ModelName): Promise<Allowed> {
    await this.#limits.refresh();
    const [own, ofProvider] = limitsOf(this.#limits.value, name);
    const limit = own !== undefined && !isWindowOnly(own) ? own : ofProvider;
    if (limit === undefined) return UNLIMITED;
    return {
      concurrent: limit.max_concurrent ?? 0,
      requests: limit.requests_per_minute ?? 0,
      tokens: limit.tokens_per_minute ?? 0,
    };
  }

  /** @returns true when the outcome of the call must be settled even if it is an ordinary answer */
  async #begin(call: ProviderCall, allowed: Allowed, tokens: number): Promise<boolean> {
    let acquisition;
    try {
      acquisition = await this.#calls.acquire(call, allowed, tokens, LEASE_MS);
    } catch (error) {
      logged("provider.not_asked")(error);
      return false;
    }
    if (acquisition.is === "begun") return acquisition.matters;
    throw new ProviderWait(acquisition.why, call.name, acquisition.afterMs);
  }

  #hold(call: ProviderCall): void {
    this.#held.add(call);
    this.#timer ??= setInterval(() => this.#renew(), RENEW_MS).unref();
  }

  #renew(): void {
    if (this.#held.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    const byModel = Map.groupBy(this.#held, ({ name, keyOwner }) =>
      keys.providerCalls(keyOwner, name.provider, name.model),
    );
    for (const held of byModel.values()) {
      this.#calls.renew(held, LEASE_MS).catch(logged("provider.not_renewed"));
    }
  }
}

function limitsByModel(limits: readonly ProviderLimit[]): ReadonlyMap<string, ProviderLimit> {
  return new Map(limits.map((limit) => [limit.model, limit]));
}

/** The row of a model, and that of all models of its provider. */
function limitsOf(
  limits: ReadonlyMap<string, ProviderLimit>,
  { provider, model }: ModelName,
): [ProviderLimit | undefined, ProviderLimit | undefined] {
  return [limits.get(`${provider}/${model}`), limits.get(`${provider}/*`)];
}

/** Whether a row says how long requests may be, and limits no calls. Those of the provider hold then. */
function isWindowOnly(row: ProviderLimit): boolean {
  const { context_tokens, max_concurrent, requests_per_minute, tokens_per_minute } = row;
  return (
    context_tokens !== null &&
    max_concurrent === null &&
    requests_per_minute === null &&
    tokens_per_minute === null
  );
}

/** What the failure of a call says about its provider. */
function outcomeOf(error: unknown, signal: AbortSignal): Pick<Outcome, "is" | "waitMs"> {
  const says = (is: Outcome["is"], waitMs?: number) => ({ is, waitMs });
  if (signal.aborted) return says("unknown");
  if (error instanceof RetryableError) {
    if (error.code === "model_rate_limited") return says("limited", error.retryAfterMs);
    return says(FAILURES.has(error.code) ? "failed" : "answered");
  }
  return says(
    error instanceof TerminalError && error.code !== "model_not_configured" ? "answered" : "unknown",
  );
}

function logged(event: string): (error: unknown) => void {
  return (error) => log.warn(event, { message: messageOf(error) });
}
