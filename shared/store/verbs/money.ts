import { z } from "zod";
import { TenantId } from "../../contracts/ids.ts";
import { ModelPrice } from "../../contracts/model-price.ts";
import { WokenRun, wakeBudgetWaits } from "../money/budget-waits.ts";
import {
  AnswerToKeep,
  AnswerWanted,
  KeptAnswer,
  MAX_KEPT_AT_ONCE,
  keepAnswers,
  readKeptAnswer,
} from "../money/kept-answers.ts";
import { ProviderLimit } from "../../contracts/provider-limit.ts";
import { SealedProviderKey, readProviderKeys } from "../money/provider-keys.ts";
import { readProviderLimits } from "../money/provider-limits.ts";
import { readModelPrices } from "../money/model-prices.ts";
import { CallToReserve, Reservation, releaseReservation, reserveInBudgets } from "../money/reserve.ts";
import type { Bind } from "./verb.ts";

/** Budgets, prices, limits and keys of providers, and kept answers. */
export function moneyVerbs(bind: Bind) {
  return {
    reserveInBudgets: bind({
      name: "reserveInBudgets",
      args: z.tuple([CallToReserve]),
      result: Reservation,
      run: reserveInBudgets,
    }),
    releaseReservation: bind({
      name: "releaseReservation",
      args: z.tuple([CallToReserve.pick({ run_id: true, call: true })]),
      result: z.null(),
      run: releaseReservation,
    }),
    wakeBudgetWaits: bind({
      name: "wakeBudgetWaits",
      args: z.tuple([]),
      result: z.array(WokenRun),
      run: wakeBudgetWaits,
    }),
    readModelPrices: bind({
      name: "readModelPrices",
      args: z.tuple([]),
      result: z.array(ModelPrice),
      run: readModelPrices,
    }),
    readProviderLimits: bind({
      name: "readProviderLimits",
      args: z.tuple([]),
      result: z.array(ProviderLimit),
      run: readProviderLimits,
    }),
    readProviderKeys: bind({
      name: "readProviderKeys",
      args: z.tuple([TenantId]),
      result: z.array(SealedProviderKey),
      run: readProviderKeys,
    }),
    readKeptAnswer: bind({
      name: "readKeptAnswer",
      args: z.tuple([AnswerWanted]),
      result: KeptAnswer.nullable(),
      run: readKeptAnswer,
    }),
    keepAnswers: bind({
      name: "keepAnswers",
      args: z.tuple([z.array(AnswerToKeep).max(MAX_KEPT_AT_ONCE)]),
      result: z.null(),
      run: keepAnswers,
    }),
  };
}
