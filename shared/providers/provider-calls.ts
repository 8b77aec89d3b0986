import { z } from "zod";
import type { TenantId } from "../contracts/ids.ts";
import type { ModelName } from "../contracts/model-name.ts";
import { keys } from "../keys.ts";
import { runScript, scriptOf } from "../queue/scripts.ts";
import type { RedisCommands } from "../queue/scripts.ts";
import acquire from "./acquire.lua" with { type: "text" };
import common from "./common.lua" with { type: "text" };
import renew from "./renew.lua" with { type: "text" };
import settle from "./settle.lua" with { type: "text" };

/** The script of a verb: common.lua followed by the verb's file. It also runs when Redis is full, which must not stop calls to models. */
const define = (verb: string, text: string) => scriptOf(verb, `#!lua flags=allow-oom\n${common}\n${text}`);
const scripts = {
  acquire: define("provider acquire", acquire),
  settle: define("provider settle", settle),
  renew: define("provider renew", renew),
};

/**
 * A call to a model. `call`: its name, the same however often it asks to begin. `keyOwner`: whose API key it uses (null: the
 * operator's); what is known of a provider holds for one key owner.
 */
export type ProviderCall = { name: ModelName; keyOwner: TenantId | null; tenant: TenantId; call: string };

/** The limits of a model: calls at a time, requests and tokens a minute. 0: no limit. */
export type Allowed = { concurrent: number; requests: number; tokens: number };

/**
 * Whether a call may begin. `matters`: its outcome has to be settled even when it is an ordinary answer. `why`: a limit, or the
 * circuit breaker.
 */
export type Acquisition =
  | { is: "begun"; matters: boolean }
  | { is: "wait"; why: "limit" | "open"; afterMs: number };

/** What is left of a limit, as the provider says, and for how long this holds. */
export type Left = { count: number; forMs: number };

/**
 * How a call ended. `answered`: the provider answered, also with a refusal of the request. `failed`: it did not, or not to the end.
 * `limited`: it asks to wait, for `waitMs` if it names a time. `unknown`: the worker cut the call off. `heldMs`: how long the call
 * took. `moreTokens`: how many more tokens it used than estimated; negative: fewer.
 */
export type Outcome = {
  is: "answered" | "failed" | "limited" | "unknown";
  heldMs: number;
  moreTokens: number;
  waitMs: number | undefined;
  left: { requests: Left | undefined; tokens: Left | undefined };
};

const Reply = z.union([
  z.tuple([z.literal("begun"), z.enum(["0", "1"])]),
  z.tuple([z.enum(["limit", "open"]), z.coerce.number()]),
]);

/** The calls to models of all workers, in Redis: docs/protocol.md 5.25. */
export class ProviderCalls {
  readonly #redis: RedisCommands;

  constructor(redis: RedisCommands) {
    this.#redis = redis;
  }

  /**
   * Lets a call begin, or says when it is to ask again.
   * @param tokens an estimate of the tokens that the call uses
   * @param leaseMs how long the call counts as under way if nothing renews or settles it
   */
  async acquire(
    { name, keyOwner, tenant, call }: ProviderCall,
    allowed: Allowed,
    tokens: number,
    leaseMs: number,
  ): Promise<Acquisition> {
    const numbers = [leaseMs, allowed.concurrent, allowed.requests, allowed.tokens, tokens];
    const [what, more] = Reply.parse(
      await runScript(this.#redis, scripts.acquire, keysOf(name, keyOwner), [
        tenant,
        call,
        ...numbers.map(String),
      ]),
    );
    return what === "begun"
      ? { is: "begun", matters: more === "1" }
      : { is: "wait", why: what, afterMs: more };
  }

  /** Ends a call, and records what its outcome says about the provider. */
  async settle(
    { name, keyOwner, tenant, call }: ProviderCall,
    allowed: Allowed,
    outcome: Outcome,
  ): Promise<void> {
    const { left } = outcome;
    const numbers = [
      outcome.heldMs,
      allowed.tokens,
      outcome.moreTokens,
      outcome.waitMs ?? -1,
      left.requests?.count ?? -1,
      left.requests?.forMs ?? -1,
      left.tokens?.count ?? -1,
      left.tokens?.forMs ?? -1,
    ].map((number) => String(Math.round(number)));
    await runScript(this.#redis, scripts.settle, keysOf(name, keyOwner), [
      tenant,
      call,
      outcome.is,
      ...numbers,
    ]);
  }

  /** Renews the leases of calls to one model with the key of one owner. */
  async renew(held: readonly ProviderCall[], leaseMs: number): Promise<void> {
    const [first] = held;
    if (first === undefined) return;
    const args = [String(leaseMs), ...held.map(({ call }) => call)];
    await runScript(this.#redis, scripts.renew, keysOf(first.name, first.keyOwner), args);
  }
}

function keysOf({ provider, model }: ModelName, keyOwner: TenantId | null): string[] {
  return [keys.providerCalls(keyOwner, provider, model)];
}
