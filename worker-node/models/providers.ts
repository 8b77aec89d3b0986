import type { LanguageModel } from "ai";
import { TerminalError } from "../engine/errors.ts";
import type { ModelName, Provider } from "./model-name.ts";

/** What providers are told by the environment, under their usual names. */
export type ModelEnv = {
  OPENAI_API_KEY?: string | undefined;
  OPENAI_BASE_URL?: string | undefined;
  ANTHROPIC_API_KEY?: string | undefined;
  ANTHROPIC_BASE_URL?: string | undefined;
  GOOGLE_GENERATIVE_AI_API_KEY?: string | undefined;
  GEMINI_API_KEY?: string | undefined;
  GOOGLE_BASE_URL?: string | undefined;
  OLLAMA_BASE_URL?: string | undefined;
  OPENAI_COMPATIBLE_BASE_URL?: string | undefined;
  OPENAI_COMPATIBLE_API_KEY?: string | undefined;
  DEFAULT_MODEL?: string | undefined;
};

type Remote = Exclude<Provider, "demo">;
type Fetch = typeof globalThis.fetch;

/** Model used where none is named, by provider, in the order in which a key is looked for. */
const defaults: [Remote, string][] = [
  ["openai", "gpt-4.1-mini"],
  ["anthropic", "claude-haiku-4-5"],
  ["google", "gemini-2.5-flash"],
];

// A provider's package is loaded when it is first asked: together they take longer to import than the rest of a worker.
const open: { [Name in Remote]: (env: ModelEnv, model: string, fetch: Fetch) => Promise<LanguageModel> } = {
  openai: async (env, model, fetch) => {
    const { createOpenAI } = await import("@ai-sdk/openai");
    const settings = {
      apiKey: required(env.OPENAI_API_KEY, "OPENAI_API_KEY"),
      ...base(env.OPENAI_BASE_URL),
      fetch,
    };
    // Chat completions, not the newer Responses: gateways behind OPENAI_BASE_URL speak the former.
    return createOpenAI(settings).chat(model);
  },
  anthropic: async (env, model, fetch) => {
    const { createAnthropic } = await import("@ai-sdk/anthropic");
    const settings = {
      apiKey: required(env.ANTHROPIC_API_KEY, "ANTHROPIC_API_KEY"),
      ...base(env.ANTHROPIC_BASE_URL),
      fetch,
    };
    return createAnthropic(settings)(model);
  },
  google: async (env, model, fetch) => {
    const { createGoogleGenerativeAI } = await import("@ai-sdk/google");
    const apiKey = required(googleKey(env), "GOOGLE_GENERATIVE_AI_API_KEY");
    return createGoogleGenerativeAI({ apiKey, ...base(env.GOOGLE_BASE_URL), fetch })(model);
  },
  "openai-compatible": (env, model, fetch) =>
    compatible(
      "openai-compatible",
      required(env.OPENAI_COMPATIBLE_BASE_URL, "OPENAI_COMPATIBLE_BASE_URL"),
      env.OPENAI_COMPATIBLE_API_KEY,
      model,
      fetch,
    ),
  ollama: (env, model, fetch) => {
    const root = (env.OLLAMA_BASE_URL ?? "http://localhost:11434").replace(/\/+$/, "");
    return compatible("ollama", root.endsWith("/v1") ? root : `${root}/v1`, undefined, model, fetch);
  },
};

async function compatible(
  name: string,
  baseURL: string,
  apiKey: string | undefined,
  model: string,
  fetch: Fetch,
): Promise<LanguageModel> {
  const { createOpenAICompatible } = await import("@ai-sdk/openai-compatible");
  const key = apiKey === undefined || apiKey === "" ? {} : { apiKey };
  return createOpenAICompatible({ name, baseURL, includeUsage: true, ...key, fetch })(model);
}

/**
 * Opens a model at its provider. A missing setting is a TerminalError `model_not_configured` that names it.
 * @param heard called with all that comes from the provider, also with what the SDK makes nothing of, such as a ping
 */
export function openModel(
  env: ModelEnv,
  { provider, model }: ModelName & { provider: Remote },
  heard: () => void,
): Promise<LanguageModel> {
  return open[provider](env, model, async (...request) => {
    const answer = await fetch(...request);
    heard();
    const ears = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      transform(bytes, controller) {
        heard();
        controller.enqueue(bytes);
      },
    });
    return new Response(answer.body?.pipeThrough(ears) ?? null, answer);
  });
}

/** The model for steps that name none: DEFAULT_MODEL, else that of the first provider with a key, else the scripted one. */
export function defaultModelOf(env: ModelEnv): string {
  if (env.DEFAULT_MODEL !== undefined && env.DEFAULT_MODEL !== "") return env.DEFAULT_MODEL;
  const keys: { [name: string]: string | undefined } = {
    openai: env.OPENAI_API_KEY,
    anthropic: env.ANTHROPIC_API_KEY,
    google: googleKey(env),
  };
  const found = defaults.find(([provider]) => (keys[provider] ?? "") !== "");
  return found === undefined ? "demo/writer" : found.join("/");
}

function googleKey(env: ModelEnv): string | undefined {
  return env.GOOGLE_GENERATIVE_AI_API_KEY || env.GEMINI_API_KEY;
}

function base(url: string | undefined): { baseURL?: string } {
  return url === undefined || url === "" ? {} : { baseURL: url };
}

function required(value: string | undefined, name: string): string {
  if (value !== undefined && value !== "") return value;
  throw new TerminalError("model_not_configured", `this model needs ${name} in the worker's environment`);
}
