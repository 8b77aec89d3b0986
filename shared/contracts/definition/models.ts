import { modelOf, parseModelName, unknownModel } from "../model-name.ts";
import { priceError } from "../model-price.ts";
import type { ReplacedPrices } from "../model-price.ts";
import type { FieldError } from "../../errors.ts";
import type { AgentDocument } from "./agent.ts";
import type { OrchestrationDocument } from "./orchestration.ts";

/** The rules on money for a save: the operator's prices (`replaced`), and whether a budget applies to the runs of the definition. */
export type MoneyRules = { replaced?: ReplacedPrices; hasBudget?: boolean };

/** Models of steps that no worker can ever call, or that a limit on money excludes. */
export function stepModelErrors(
  { steps, max_total_cost_usd }: OrchestrationDocument,
  { replaced, hasBudget = false }: MoneyRules,
): FieldError[] {
  const isLimited = max_total_cost_usd !== null || hasBudget;
  return steps.flatMap((step, index) => {
    const requested = "model" in step ? modelOf(step.model) : null;
    const message = requested === null ? null : modelErrorText(requested, isLimited, replaced);
    return message === null ? [] : [{ path: `steps[${index}].model`, message }];
  });
}

/** The model of an agent that no worker can ever call, or a provider that is not read. */
export function agentModelErrors({ model, provider }: AgentDocument): FieldError[] {
  const requested = modelOf(model, provider);
  if (requested === null) {
    const message = "is read together with a model only: name the model, or leave the provider out";
    return provider === null ? [] : [{ path: "provider", message }];
  }
  const isProviderUnknown = provider !== null && parseModelName(`${provider}/m`) === null;
  const message = modelErrorText(requested, false);
  return message === null ? [] : [{ path: isProviderUnknown ? "provider" : "model", message }];
}

/**
 * Why a model cannot be used; null: it can.
 * @param isLimited a limit on money holds, so that the model's price must be known
 */
export function modelErrorText(
  requested: string,
  isLimited: boolean,
  replaced?: ReplacedPrices,
): string | null {
  if (/[\s\p{Cc}]/u.test(requested))
    return `${JSON.stringify(requested)} names no model: a name has no spaces`;
  const name = parseModelName(requested);
  if (name === null) return unknownModel(requested);
  return isLimited ? priceError(requested, name, replaced) : null;
}
