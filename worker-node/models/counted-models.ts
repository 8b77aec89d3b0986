import type { Count } from "../../shared/metrics.ts";
import type { ModelAnswer, Models } from "../engine/ports.ts";
import { ProviderWait } from "./provider-wait.ts";

/**
 * The same models, with counters: of each call its tokens and its cost, of a call that fails as far as they are known; of each call with
 * an answer its duration; and each call that has to wait for its provider.
 */
export function countedModels(models: Models, count: Count): Models {
  return {
    ...models,
    async generate(request) {
      const began = performance.now();
      const last: { usage: ModelAnswer["usage"] | null } = { usage: null };
      const onUsage = (usage: ModelAnswer["usage"] | null): void => {
        last.usage = usage;
        request.onUsage?.(usage);
      };
      try {
        const answer = await models.generate({ ...request, onUsage });
        last.usage = answer.usage;
        const { provider } = answer.usage;
        count.observe("synapse_model_call_seconds", { provider }, (performance.now() - began) / 1_000);
        return answer;
      } catch (error) {
        if (error instanceof ProviderWait) {
          count.add("synapse_model_waits_total", { provider: error.provider, reason: error.code });
        }
        throw error;
      } finally {
        if (last.usage !== null) countUsage(count, last.usage);
      }
    },
  };
}

function countUsage(count: Count, usage: ModelAnswer["usage"]): void {
  const { provider, model, input_tokens, output_tokens, cost_micro_usd } = usage;
  count.add("synapse_model_tokens_total", { provider, model, kind: "input" }, input_tokens);
  count.add("synapse_model_tokens_total", { provider, model, kind: "output" }, output_tokens);
  count.add("synapse_model_cost_usd_total", { provider, model }, cost_micro_usd / 1e6);
}
