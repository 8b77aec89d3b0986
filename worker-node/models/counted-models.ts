import type { Count } from "../../shared/metrics.ts";
import type { Models } from "../engine/ports.ts";
import { ProviderWait } from "./provider-wait.ts";

/**
 * The same models, with counters: of each call with an answer its duration, its tokens and its cost, and each call that has to wait for
 * its provider.
 */
export function countedModels(models: Models, count: Count): Models {
  return {
    ...models,
    async generate(request) {
      const began = performance.now();
      const answer = await models.generate(request).catch((error: unknown) => {
        if (error instanceof ProviderWait) {
          count.add("synapse_model_waits_total", { provider: error.provider, reason: error.code });
        }
        throw error;
      });
      const { provider, model, input_tokens, output_tokens, cost_micro_usd } = answer.usage;
      count.observe("synapse_model_call_seconds", { provider }, (performance.now() - began) / 1_000);
      count.add("synapse_model_tokens_total", { provider, model, kind: "input" }, input_tokens);
      count.add("synapse_model_tokens_total", { provider, model, kind: "output" }, output_tokens);
      count.add("synapse_model_cost_usd_total", { provider, model }, cost_micro_usd / 1e6);
      return answer;
    },
  };
}
