import { RetryableError } from "../engine/step-errors.ts";
import { withTimeout, within } from "../execution/stop.ts";
import { modelError, refusesToolChoice } from "./model-error.ts";
import { emptyReport } from "./provider-report.ts";
import { streamAnswer, usageOf } from "./stream-answer.ts";
import type { RemoteModelName } from "./stream-answer.ts";
import type { ModelAnswer, ModelRequest } from "../engine/ports.ts";
import type { ModelEnv } from "./providers.ts";

/** What the model calls of a worker share. */
export type RemoteDeps = {
  env: ModelEnv;
  /** A provider that sends nothing for so long has failed. */
  silenceMs: number;
  /** Models whose server refuses a forced tool choice and takes the same request without. */
  withoutToolChoice: Set<string>;
};

/** Models of one worker whose servers refuse a tool choice. The names come from definitions, so their number is bounded. */
const MAX_REMEMBERED = 1_000;

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
  request: ModelRequest,
): Promise<ModelAnswer> {
  const label = `${name.provider}/${name.model}`;
  if (request.toolChoice !== "required" || request.tools.length === 0)
    return requestOnce(deps, name, request);
  const unforced = { ...request, toolChoice: "auto" as const };
  if (deps.withoutToolChoice.has(label)) return requestOnce(deps, name, unforced);
  let ofRefusal = NO_USAGE;
  const onUsage = (usage: CallUsage): void => {
    ofRefusal = usage;
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
      onUsage: (usage) => request.onUsage?.(sumOf(usage, ofRefusal)),
    });
    const answer = await again.catch((error: unknown) => {
      throw request.signal.aborted ? error : refusal;
    });
    if (deps.withoutToolChoice.size < MAX_REMEMBERED) deps.withoutToolChoice.add(label);
    return { ...answer, usage: sumOf(answer.usage, ofRefusal) };
  }
}

type CallUsage = ModelAnswer["usage"];
type Counts = Pick<CallUsage, "input_tokens" | "output_tokens" | "cost_micro_usd">;
const NO_USAGE: Counts = { input_tokens: 0, output_tokens: 0, cost_micro_usd: 0 };

/** The usage of two requests that are one call of a step. */
function sumOf(usage: CallUsage, more: Counts): CallUsage {
  return {
    ...usage,
    input_tokens: usage.input_tokens + more.input_tokens,
    output_tokens: usage.output_tokens + more.output_tokens,
    cost_micro_usd: usage.cost_micro_usd + more.cost_micro_usd,
  };
}

/** Makes one request. A provider that sends nothing for `silenceMs` fails it. */
async function requestOnce(
  { env, silenceMs }: RemoteDeps,
  name: RemoteModelName,
  request: ModelRequest,
): Promise<ModelAnswer> {
  const label = `${name.provider}/${name.model}`;
  const report = emptyReport(request.tools.map((tool) => tool.name));
  const limit = withTimeout(request.signal, silenceMs, () => {
    const message = `${label}: the provider sent nothing for ${silenceMs / 1_000} s`;
    return new RetryableError("model_timeout", message);
  });
  const { signal } = limit;
  // With every byte, so that the reported usage is charged also when the call fails later.
  const onBytes = (): void => {
    limit.restart();
    if (report.tokens !== undefined) request.onUsage?.(usageOf(name, report));
  };
  try {
    signal.throwIfAborted();
    return await within(signal, streamAnswer(env, name, { ...request, signal }, report, onBytes));
  } catch (error) {
    throw modelError(error, label, signal);
  } finally {
    if (report.tokens !== undefined) request.onUsage?.(usageOf(name, report));
    limit.clear();
  }
}
