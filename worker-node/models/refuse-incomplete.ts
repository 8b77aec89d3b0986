import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { finishOf, promisesCall } from "./finish-reason.ts";
import { ReportedError } from "./model-error.ts";
import type { ToolCall } from "../engine/ports.ts";
import type { ModelName } from "../../shared/contracts/model-name.ts";
import type { ProviderReport } from "./provider-report.ts";

/** Throws unless what the provider reported is a complete answer. The report of the provider counts before what the SDK made of it. */
export function refuseIncomplete(
  name: ModelName,
  report: ProviderReport,
  calls: readonly ToolCall[],
  failure: unknown,
): void {
  const label = `${name.provider}/${name.model}`;
  // This side has ended the answer, so what its provider said until then is not the reason.
  if (failure instanceof TerminalError) throw failure;
  if (report.error !== undefined) throw new ReportedError(report.error);
  if (report.withheld)
    throw new TerminalError("content_filter", `${label}: the provider withheld the answer`);
  if (!report.begun) throw failure;
  const word = report.finish;
  if (word === undefined && report.problem !== undefined)
    throw new RetryableError("model_unreadable", `${label}: ${report.problem}`, { cause: failure });
  if (word === undefined || (word === "" && !report.done)) throw cutError(label, null, failure);
  switch (finishOf(word)) {
    case "withheld":
      throw new TerminalError("content_filter", `${label}: the provider withheld the answer`);
    case "limit":
      throw new TerminalError("output_limit", `${label}: the answer was cut off at the model's output limit`);
    case "cut":
      throw cutError(label, word, failure);
    case "complete":
      break;
  }
  if (failure !== undefined || (promisesCall(word) && calls.length === 0)) {
    const message = `${label}: a part of the answer cannot be read`;
    throw new RetryableError("model_unreadable", message, { cause: failure, answered: true });
  }
}

/** Throws for an answer without a text that holds something else: another try would be paid for, and bring the same. */
export function refuseMedia({ provider, model }: ModelName, { media }: ProviderReport): void {
  if (media.size === 0) return;
  const message = `${provider}/${model}: the answer has no text, but ${[...media].join(" and ")}, which no step can take`;
  throw new TerminalError("answer_not_text", message);
}

/** What a text says of the rest of its answer, which no step can take; "": the text is the whole answer. */
export function leftOut({ media }: ProviderReport): string {
  return media.size === 0
    ? ""
    : `\n\n[${[...media].join(" and ")} of this answer is left out: no step can take it]`;
}

/** @param word by which the provider has said that this is its whole answer, so that the next call is another one; null: it has not */
function cutError(label: string, word: string | null, cause: unknown): RetryableError {
  const reason = word !== null && WORD.test(word) ? ` (finish reason ${word})` : "";
  return new RetryableError("model_cut", `${label}: the answer was cut off in the middle${reason}`, {
    cause,
    answered: word !== null,
  });
}

/** A word that an error may quote: it comes from another server. */
const WORD = /^[\w.-]{1,60}$/;
