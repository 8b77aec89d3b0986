import { RetryableError } from "../engine/step-errors.ts";
import { Stop, withTimeout, within } from "../execution/stop.ts";
import { BackgroundCall, ResponseGone } from "./background-call.ts";
import type { LimitsLeft } from "./limits-left.ts";
import { modelError, refusesToolChoice } from "./model-error.ts";
import { emptyReport } from "./provider-report.ts";
import type { ProviderReport } from "./provider-report.ts";
import { estimatedInput, usageOf } from "./call-usage.ts";
import { streamAnswer } from "./stream-answer.ts";
import type { RemoteModelName, StreamDeps } from "./stream-answer.ts";
import type { ModelAnswer, ModelRequest } from "../engine/ports.ts";

/** What a model call of a worker needs besides its request. */
export type RemoteDeps = StreamDeps & {
  /** A provider that sends nothing for so long has failed. */
  silenceMs: number;
};

/** `onLeft` gets what is left of the provider's limits, if the provider says it. */
export type RemoteRequest = ModelRequest & { onLeft?(left: LimitsLeft): void };

/** Models of one key owner whose servers refuse a tool choice. The names come from definitions, so their number is bounded. */
const MAX_REMEMBERED = 100;

/**
 * One streamed call to a provider. The SDK makes no retries: they belong to the step.
 *
 * An incomplete answer is an error, never a success: an answer that ends without a word that means a complete one
 * (`model_cut`), and one that the provider stopped (`content_filter`, `output_limit`). A provider that sends nothing for
 * `silenceMs`, before its answer or within it, fails the call with `model_timeout`. The limit is on silence and not on the
 * whole answer, because an answer may take as long as the step may.
 *
 * The engine forces a tool choice, not the definition. When the server refuses a request with a forced choice, the request is
 * made once more without; when that fails too, the first refusal is reported.
 */
export async function generateRemote(
  deps: RemoteDeps,
  name: RemoteModelName,
  request: RemoteRequest,
): Promise<ModelAnswer> {
  const label = `${name.provider}/${name.model}`;
  if (request.toolChoice !== "required" || request.tools.length === 0)
    return requestOnce(deps, name, request);
  const unforced = { ...request, toolChoice: "auto" as const };
  const { withoutToolChoice } = deps.access;
  if (withoutToolChoice.has(label)) return requestOnce(deps, name, unforced);
  let ofRefusal = NO_USAGE;
  const onUsage = (usage: CallUsage | null): void => {
    ofRefusal = usage ?? NO_USAGE;
    request.onUsage?.(usage);
  };
  try {
    return await requestOnce(deps, name, { ...request, onUsage });
  } catch (refusal) {
    if (!refusesToolChoice(refusal)) throw refusal;
    const again = requestOnce(deps, name, {
      ...unforced,
      // Another body needs another key.
      effectKey: `${request.effectKey}.auto`,
      onUsage: (usage) => {
        if (usage !== null) request.onUsage?.(sumOf(usage, ofRefusal));
        // The second request has used nothing, and the first one may have.
        else if (!("provider" in ofRefusal)) request.onUsage?.(null);
      },
    });
    const answer = await again.catch((error: unknown) => {
      throw request.signal.aborted ? error : refusal;
    });
    if (withoutToolChoice.size < MAX_REMEMBERED) withoutToolChoice.add(label);
    return { ...answer, usage: sumOf(answer.usage, ofRefusal) };
  }
}

type CallUsage = ModelAnswer["usage"];
type Counts = Pick<CallUsage, "input_tokens" | "output_tokens" | "cost_micro_usd" | "estimated">;
const NO_USAGE: Counts | CallUsage = { input_tokens: 0, output_tokens: 0, cost_micro_usd: 0 };

/** The usage of two requests that are one call of a step. */
function sumOf(usage: CallUsage, more: Counts): CallUsage {
  return {
    ...usage,
    input_tokens: usage.input_tokens + more.input_tokens,
    output_tokens: usage.output_tokens + more.output_tokens,
    cost_micro_usd: usage.cost_micro_usd + more.cost_micro_usd,
    ...(more.estimated ? { estimated: true } : {}),
  };
}

/** Makes one request. A provider that sends nothing for `silenceMs` fails it. */
async function requestOnce(
  deps: RemoteDeps,
  name: RemoteModelName,
  request: RemoteRequest,
): Promise<ModelAnswer> {
  const { silenceMs } = deps;
  const label = `${name.provider}/${name.model}`;
  const report = emptyReport(request.tools.map((tool) => tool.name));
  const limit = withTimeout(request.signal, silenceMs, () => {
    const message = `${label}: the provider sent nothing for ${silenceMs / 1_000} s`;
    return new RetryableError("model_timeout", message);
  });
  const { signal } = limit;
  // Other providers answer as always.
  const background =
    name.provider === "openai" && request.background
      ? new BackgroundCall(request.background, report, deps.access.fetch)
      : null;
  const sentTokens = estimatedInput(request);
  const tellUsage = (): void => request.onUsage?.(usageOf(name, report, sentTokens, deps.replaced()));
  // With every byte, so that what is known is charged also when the call is cut off later.
  const onBytes = (): void => {
    limit.restart();
    tellUsage();
  };
  try {
    signal.throwIfAborted();
    // From here on the provider may have read the request, whenever the call is cut off.
    tellUsage();
    const answer = await within(
      signal,
      streamAnswer(deps, name, { ...request, signal }, report, onBytes, background),
    );
    tellUsage();
    return answer;
  } catch (error) {
    // Another worker gets the answer, and charges it.
    const isLeft = background?.isOpen === true && signal.reason instanceof Stop && signal.reason.leavesRun;
    if (isLeft || (usedNothing(report) && !signal.aborted)) request.onUsage?.(null);
    else tellUsage();
    if (background && !isLeft) endResponse(background, report, request, signal.aborted);
    if (background?.isGone) throw new ResponseGone(label, { cause: error });
    throw modelError(error, label, signal);
  } finally {
    limit.clear();
    if (report.left !== undefined) request.onLeft?.(report.left);
  }
}

/** Stops a response in the background whose call has failed. A provider that was not reached may still have the answer. */
function endResponse(
  background: BackgroundCall,
  { begun }: ProviderReport,
  { background: of }: RemoteRequest,
  isStopped: boolean,
): void {
  if (!begun && !isStopped && !background.isGone) return;
  void background.cancel();
  of?.onEnded();
}

/** The provider refused the request, or was not reached. */
function usedNothing({ tokens, begun, error, writtenChars }: ProviderReport): boolean {
  return tokens === undefined && (!begun || (error !== undefined && writtenChars === 0));
}
