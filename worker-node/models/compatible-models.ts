import type { LanguageModel } from "ai";
import { fetchOfCall } from "./sdk-call.ts";

/** The models of gateways that calls have used, the latest last. */
const models = new Map<string, LanguageModel>();
const MAX_MODELS = 200;

/**
 * A model of a gateway. It is made once: the package compiles a schema for each model, and when 200 answers end at once 200 schemas take
 * a fifth of a second, in which the worker does nothing else.
 *
 * It knows no API key, so none outlives its call here, and the calls of all tenants share it: each request adds the key of its call.
 */
export async function compatibleModel(name: string, baseURL: string, model: string): Promise<LanguageModel> {
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  const key = JSON.stringify([name, baseURL, model]);
  const opened =
    models.get(key) ??
    createOpenAICompatible({ name, baseURL, includeUsage: true, fetch: fetchOfCall })(model);
  models.delete(key);
  models.set(key, opened);
  const [oldest] = models.keys();
  if (models.size > MAX_MODELS && oldest !== undefined) models.delete(oldest);
  return opened;
}
