import { RetryableError } from "../engine/step-errors.ts";
import { Stop, abortable, withTimeout } from "../execution/stop.ts";
import { BackgroundCall, ResponseGone } from "./background-call.ts";
import { requestForced } from "./forced-choice.ts";
import type { RemoteRequest } from "./limits-left.ts";
import { modelError } from "./model-error.ts";
import { emptyReport } from "./provider-report.ts";
import type { ProviderReport } from "./provider-report.ts";
import { estimatedInput, usageOf } from "./call-usage.ts";
import { streamAnswer } from "./stream-answer.ts";
import type { RemoteModelName } from "./providers.ts";
import type { StreamDeps } from "./stream-answer.ts";
import type { ModelAnswer } from "../engine/ports.ts";

/** What a model call of a worker needs besides its request. */
export type RemoteDeps = StreamDeps & {
  /** A provider that sends nothing for so long has failed. */
  silenceMs: number;
};

/**
 * One streamed call to a provider. The SDK makes no retries: they belong to the step.
 *
 * An incomplete answer is an error, never a success: an answer that ends without a word that means a complete one
 * (`model_cut`), and one that the provider stopped (`content_filter`, `output_limit`). A provider that sends nothing for
 * `silenceMs`, before its answer or within it, fails the call with `model_timeout`. The limit is on silence and not on the
 * whole answer, because an answer may take as long as the step may.
 */
export async function generateRemote(
  deps: RemoteDeps,
  name: RemoteModelName,
  request: RemoteRequest,
): Promise<ModelAnswer> {
  const once = (each: RemoteRequest) => requestOnce(deps, name, each);
  if (request.toolChoice !== "required" || request.tools.length === 0) return once(request);
  return requestForced(deps.access, `${name.provider}/${name.model}`, request, once);
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
      ? new BackgroundCall(request.background, report, deps.access.call)
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
    const answer = await abortable(
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
function usedNothing({ tokens, begun, error, writtenBytes }: ProviderReport): boolean {
  return tokens === undefined && (!begun || (error !== undefined && writtenBytes === 0));
}
