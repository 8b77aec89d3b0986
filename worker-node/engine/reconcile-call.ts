import { argumentsOfUrl, EFFECT_KEY } from "../../shared/contracts/definition/index.ts";
import { isObject } from "../../shared/contracts/json.ts";
import { keepingKey, RetryableError, TerminalError, ToolRejection } from "./step-errors.ts";
import type { HttpTool } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Files, StepContext } from "./ports.ts";
import type { OfferedTool } from "./offered-tool.ts";

type Reconcile = NonNullable<HttpTool["reconcile"]>;

/**
 * Calls of a tool that can be asked whether a call has happened. The beginning of each call is committed before the call. When
 * an earlier execution had begun it, the tool is asked first: what it has found is the result, and the call is not made.
 *
 * HTTP 404 means that the call has not happened. After any other refusal that is unknown, so the step fails and nothing is called.
 */
export function reconciling(
  stored: JsonObject,
  reconcile: Reconcile,
  context: StepContext,
): OfferedTool["perform"] {
  return async ({ args, begin, files }) => {
    const { key, wasBegun } = await begin();
    if (wasBegun) {
      const found = await lookUp(stored, reconcile, { args, key, files }, context);
      if (found !== null) return found.result;
    }
    const { tenantId, signal } = context;
    return context.tools.call({ tenantId, tool: stored, args, effectKey: key, signal, files });
  };
}

/** The result of a call that has happened; null: it has not. */
async function lookUp(
  stored: JsonObject,
  { method, url, found }: Reconcile,
  { args, key, files }: { args: JsonObject; key: string; files: Files },
  context: StepContext,
): Promise<{ result: Json } | null> {
  const all = { ...args, [EFFECT_KEY]: key };
  const named = new Set(argumentsOfUrl(url, all));
  const ofUrl = Object.entries(all).filter(([name]) => named.has(name));
  const sealed = Object.entries(isObject(stored["sealed"]) ? stored["sealed"] : {});
  const tool = {
    ...stored,
    method,
    url,
    outputSchema: null,
    // `found` reads the answer.
    response: "inline",
    reconcile: null,
    // A question may be asked again.
    retry_safe: true,
    // The request has only the secrets of the tool's headers: the secrets of its URL belong to another URL.
    sealed: Object.fromEntries(sealed.filter(([place]) => place.startsWith("headers."))),
  };
  const request = {
    tenantId: context.tenantId,
    tool,
    args: method === "GET" ? Object.fromEntries(ofUrl) : all,
    effectKey: `${key}.reconcile`,
    signal: context.signal,
    files,
  };
  try {
    const answer = await context.tools.call(request);
    const value = await context.sandbox.evaluate(found, {}, { answer });
    if (value === false || value === null) return null;
    return { result: value === true ? answer : value };
  } catch (error) {
    if (error instanceof ToolRejection && error.status === 404) return null;
    if (error instanceof RetryableError) throw keepingKey(error);
    if (!(error instanceof TerminalError)) throw error;
    throw new TerminalError(
      "reconcile_failed",
      `a call may have happened, and its tool did not say whether: ${error.message}`,
      { cause: error },
    );
  }
}
