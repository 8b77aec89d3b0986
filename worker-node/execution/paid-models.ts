import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { ModelAnswer, ModelRequest, Models } from "../engine/ports.ts";
import { releaseCall, reserveCall } from "./budgets.ts";
import type { PaidVisit } from "./execution-state.ts";

/** The usage of the calls of one try, and how the try's calls are stopped and checked. */
type TryOf = {
  /** The last report of each call, also of a failed one, by its effect key. */
  usage: Map<string, Usage>;
  signal: AbortSignal;
  /** The cost of the run so far. @throws TerminalError when the run's own limit is reached */
  spent(): number;
};

/**
 * The models as a step calls them: docs/protocol.md 5.10. Under a limit on money the worst case of each call is reserved before it,
 * in the run's own limit and in all budgets that apply. The charge of the call takes the place of the reservation.
 */
export function paidModels(visit: PaidVisit, thisTry: TryOf): Models {
  const { state, scope } = visit;
  const { deps, runLog, runLimit } = state;
  const { usage, signal, spent } = thisTry;
  const maxUsd = scope.definition.max_total_cost_usd;
  return {
    generate: async (request) => {
      spent();
      await deps.prices.refresh();
      const quote = deps.prices.quote(request);
      // Without a price the models refuse the call by name.
      const mustHavePrice = maxUsd !== null || runLog.hasBudget;
      if (!mustHavePrice || quote === null) return metered({ ...request, mustHavePrice });
      let used = 0;
      const limit = maxUsd === null ? null : maxUsd * 1e6;
      const end = await runLimit.reserve({ limit, cost: quote.cost, spent, used: () => used, signal });
      try {
        const { reserved, ...admitted } = runLog.hasBudget
          ? await reserveCall(visit, request, quote, signal)
          : { request, quote, reserved: null };
        const { maxOutputTokens } = admitted.quote;
        const capped = maxOutputTokens === undefined ? {} : { maxOutputTokens };
        return await metered({ ...admitted.request, mustHavePrice, ...capped }, reserved, (cost) => {
          used = cost;
        });
      } finally {
        end();
      }
    },
  };

  async function metered(
    request: ModelRequest,
    reserved: string | null = null,
    onCost: (microUsd: number) => void = () => {},
  ): Promise<ModelAnswer> {
    const named = reserved === null ? {} : { reserved };
    let reported: Usage | null = null;
    const onUsage = (report: ModelAnswer["usage"] | null): void => {
      const call = request.effectKey;
      const next = report === null ? null : { call, ...report, ...named };
      // A report that comes after the try has ended, and its usage is charged, is too late.
      if (reported !== null && usage.get(call) !== reported) return;
      if (next === null) usage.delete(call);
      else usage.set(call, next);
      reported = next;
      onCost(next?.cost_micro_usd ?? 0);
    };
    try {
      const answer = await deps.models.generate({ ...request, tenant: state.run.tenant_id, onUsage });
      onUsage(answer.usage);
      return { ...answer, usage: { ...answer.usage, ...named } };
    } catch (error) {
      if (reserved !== null && reported === null) releaseCall(visit, reserved);
      throw error;
    }
  }
}
