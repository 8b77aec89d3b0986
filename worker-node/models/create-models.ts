import { parseModelName, unknownModel } from "../../shared/contracts/model-name.ts";
import { priceError } from "../../shared/contracts/model-price.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import type { ReplacedPrices } from "../../shared/contracts/model-price.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { callDirectly } from "./call-provider.ts";
import { generateDemo } from "./demo-model.ts";
import { LoopTurns } from "./loop-turns.ts";
import { defaultModelOf, preloadPackages } from "./providers.ts";
import { generateRemote } from "./remote-model.ts";
import { redactError } from "./redact-error.ts";
import type { RemoteRequest } from "./limits-left.ts";
import type { ModelAnswer, Models } from "../engine/ports.ts";
import type { ProviderGate } from "./provider-gate.ts";
import type { ModelAccess, ModelEnv } from "./model-access.ts";
import type { TenantKeys } from "./tenant-keys.ts";

/**
 * The models that a worker with this environment can call. It never throws: a missing API key is an error of the step
 * that names the model. `defaultModel` serves the steps that name no model, `defaultModelFor` those of a tenant; `describe` is a sentence about it for logs. `preload`
 * loads what the first call would load otherwise.
 * @param silenceMs a call fails when its provider sends nothing for this time
 * @param replaced the prices that the operator has set
 * @param gate lets calls to providers begin; null: each begins at once
 * @param tenantKeys the keys of tenants, which their calls use instead of those of `env`; null: no tenant has one
 */
export function createModels(
  env: ModelEnv,
  silenceMs: number,
  replaced: () => ReplacedPrices = () => new Map(),
  gate: ProviderGate | null = null,
  tenantKeys: TenantKeys | null = null,
): Models & {
  defaultModel: string;
  defaultModelFor(tenant: TenantId, signal: AbortSignal): Promise<string>;
  describe(): string;
  preload(): Promise<void>;
} {
  const defaultModel = defaultModelOf(env);
  const shared = { silenceMs, replaced, turns: new LoopTurns() };
  const operator: ModelAccess = {
    env,
    call: callDirectly,
    own: null,
    withoutToolChoice: new Set(),
    withoutTools: new Set(),
    withoutFields: new Map(),
  };
  return {
    defaultModel,
    defaultModelFor: async (tenant, signal) =>
      defaultModelOf(env, await tenantKeys?.providersOf(tenant, signal)),
    preload: () => preloadPackages(env),
    describe: () =>
      defaultModel.startsWith("demo/")
        ? `${defaultModel}: scripted answers, no language model (set OPENAI_API_KEY, ANTHROPIC_API_KEY or GOOGLE_GENERATIVE_AI_API_KEY for a real one)`
        : defaultModel,
    async generate(request) {
      const requested = request.model ?? defaultModel;
      const name = parseModelName(requested);
      if (name === null) throw new TerminalError("unknown_model", unknownModel(requested));
      const noPrice = request.mustHavePrice === true ? priceError(requested, name, replaced()) : null;
      if (noPrice !== null) throw new TerminalError("model_without_price", noPrice);
      const { provider, model } = name;
      if (provider === "demo") return generateDemo(model, request, replaced());
      const remote = { provider, model };
      const { tenant, signal } = request;
      const ofTenant = tenant === undefined ? null : await tenantKeys?.accessOf(tenant, provider, signal);
      const access = ofTenant ?? operator;
      const make = (passed: RemoteRequest): Promise<ModelAnswer> =>
        generateRemote({ ...shared, access }, remote, passed).catch((error: unknown) => {
          // The provider may quote the key. The log leaves out those of the environment by itself.
          if (access.own !== null) redactError(error, access.own.apiKey);
          throw error;
        });
      // A response that has begun is no new call to the provider.
      const isBegun = provider === "openai" && (request.background?.attachTo ?? null) !== null;
      if (gate === null || isBegun) return make(request);
      return gate.pass(remote, access.own?.tenant ?? null, request, make);
    },
  };
}
