import { refusesToolChoice, refusesTools } from "./model-error.ts";
import { saysNothing } from "../engine/model-call.ts";
import { RetryableError } from "../engine/step-errors.ts";
import type { ModelAccess } from "./model-access.ts";
import type { RemoteRequest } from "./limits-left.ts";
import type { Message, ModelAnswer, ToolSpec } from "../engine/ports.ts";

/** Models of one key owner whose servers refuse what the engine asks for. The names come from definitions, so their number is bounded. */
const MAX_REMEMBERED = 100;

/**
 * Requests the call of one tool, for steps that force it. When the server refuses the forced choice, or answers it with nothing, the
 * request is made without it. When the server refuses tools, the model gets the tool's schema as text: it then answers with JSON, which all
 * steps that force a tool can read. When that fails too, the first refusal is thrown.
 * @param once makes one request
 */
export async function requestForced(
  { withoutToolChoice, withoutTools }: ModelAccess,
  label: string,
  request: RemoteRequest,
  once: (request: RemoteRequest) => Promise<ModelAnswer>,
): Promise<ModelAnswer> {
  const { effectKey } = request;
  // Another body needs another key.
  const unforced = { ...request, toolChoice: "auto" as const, effectKey: `${effectKey}.auto` };
  const asText = { ...withoutToolsOf(unforced), effectKey: `${effectKey}.text` };
  if (withoutTools.has(label)) return once({ ...asText, effectKey });
  if (withoutToolChoice.has(label)) return once({ ...unforced, effectKey });
  const used = new UsageSum(request);
  let refusal: unknown;
  let silence: ModelAnswer | undefined;
  try {
    const answer = await once(used.counted(request));
    if (answer.tool_calls.length > 0 || !saysNothing(answer.text)) return answer;
    silence = answer;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    refusal = error;
  }
  if (silence !== undefined) {
    try {
      // Not remembered: models that take the choice are silent at times.
      return used.sumOf(await once(used.counted(unforced)));
    } catch (error) {
      if (request.signal.aborted || !isRefusal(error)) throw error;
      return silence;
    }
  }
  try {
    const answer = await once(used.counted(unforced));
    remember(withoutToolChoice, label);
    return used.sumOf(answer);
  } catch (error) {
    if (request.signal.aborted) throw error;
    if (!refusesTools(error)) throw error instanceof RetryableError ? error : refusal;
  }
  try {
    const answer = await once(used.counted(asText));
    remember(withoutTools, label);
    return used.sumOf(answer);
  } catch (error) {
    throw request.signal.aborted || error instanceof RetryableError ? error : refusal;
  }
}

function isRefusal(error: unknown): boolean {
  return refusesToolChoice(error) || refusesTools(error);
}

function remember(models: Set<string>, label: string): void {
  if (models.size < MAX_REMEMBERED) models.add(label);
}

/** The same request without tools. Providers take one system message, at the beginning. */
function withoutToolsOf(request: RemoteRequest): RemoteRequest {
  const [first, ...others] = request.messages;
  const instructions = request.tools.map(instead).join("\n");
  const messages: Message[] =
    first?.role === "system"
      ? [{ ...first, content: `${first.content}\n\n${instructions}` }, ...others]
      : [{ role: "system", content: instructions }, ...request.messages];
  return { ...request, messages, tools: [] };
}

function instead({ name, description, parameters }: ToolSpec): string {
  return (
    `There is no way to call tools here. In place of a call of ${name} (${description}) answer with its arguments alone, as one JSON ` +
    `object that fits this JSON Schema: ${JSON.stringify(parameters)}`
  );
}

type CallUsage = ModelAnswer["usage"];

/** The usage of several requests that are one call of a step. */
class UsageSum {
  readonly #onUsage: RemoteRequest["onUsage"];
  /** What the requests before the current one have used; null: nothing. */
  #before: CallUsage | null = null;
  #last: CallUsage | null = null;

  constructor({ onUsage }: RemoteRequest) {
    this.#onUsage = onUsage;
  }

  /** The request, whose usage is reported together with that of the requests before it. */
  counted(request: RemoteRequest): RemoteRequest {
    this.#before = this.#last;
    const onUsage = (usage: CallUsage | null): void => {
      this.#last = usage === null ? this.#before : sum(usage, this.#before);
      this.#onUsage?.(this.#last);
    };
    return { ...request, onUsage };
  }

  sumOf(answer: ModelAnswer): ModelAnswer {
    return { ...answer, usage: sum(answer.usage, this.#before) };
  }
}

function sum(usage: CallUsage, more: CallUsage | null): CallUsage {
  if (more === null) return usage;
  return {
    ...usage,
    input_tokens: usage.input_tokens + more.input_tokens,
    output_tokens: usage.output_tokens + more.output_tokens,
    cost_micro_usd: usage.cost_micro_usd + more.cost_micro_usd,
    ...(more.estimated ? { estimated: true } : {}),
  };
}
