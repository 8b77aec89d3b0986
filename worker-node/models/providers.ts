import type { LanguageModel } from "ai";
import { TerminalError } from "../engine/step-errors.ts";
import { anthropicFormat } from "./formats/anthropic.ts";
import { googleFormat } from "./formats/google.ts";
import { openaiFormat } from "./formats/openai.ts";
import { openaiResponsesFormat } from "./formats/openai-responses.ts";
import { compatibleModel } from "./compatible-models.ts";
import { sendWithoutRefused } from "./refused-fields.ts";
import { limitsLeftOf } from "./limits-left.ts";
import { readResponse } from "./read-response.ts";
import { fetchOfCall, loadSdk } from "./sdk-call.ts";
import type { KeyProvider } from "../../shared/contracts/provider-key.ts";
import { parseModelName } from "../../shared/contracts/model-name.ts";
import type { ModelName, Provider } from "../../shared/contracts/model-name.ts";
import type { CallProvider } from "./call-provider.ts";
import type { Fetch } from "./sdk-call.ts";
import type { BackgroundCall } from "./background-call.ts";
import type { ModelAccess, ModelEnv } from "./model-access.ts";
import type { AnswerListeners } from "./read-response.ts";
import type { Format, ProviderReport } from "./provider-report.ts";

type RemoteProvider = Exclude<Provider, "demo">;

/** A model of a provider that is called over the network. */
export type RemoteModelName = ModelName & { provider: RemoteProvider };

/** The default model of each provider. The first provider with an API key supplies the worker's default. */
const defaultModels: [RemoteProvider, string][] = [
  ["openai", "gpt-4.1-mini"],
  ["anthropic", "claude-haiku-4-5"],
  ["google", "gemini-2.5-flash"],
];

/** A model of the SDK. `bearer`: the API key that each request of the call gets; absent: the model has its own, or needs none. */
type Opened = { model: LanguageModel; bearer?: string };

/** Each imports its package at the first call: together the packages take longer to import than the rest of a worker. */
const openers: { [Name in RemoteProvider]: (env: ModelEnv, model: string) => Promise<Opened> } = {
  openai: async (env, model) => {
    const apiKey = required(env.OPENAI_API_KEY, "OPENAI_API_KEY", "openai");
    const baseURL = env.OPENAI_BASE_URL ?? "";
    // OpenAI's package demands OpenAI's exact shapes, which gateways do not keep.
    if (baseURL !== "" && !isOpenAi(baseURL))
      return { model: await compatibleModel("openai", baseURL, model), bearer: apiKey };
    const { createOpenAI } = await import("@ai-sdk/openai");
    // Chat Completions, not the newer Responses API: one wire format for OpenAI and all that follow it.
    return { model: createOpenAI({ apiKey, ...baseUrlOf(baseURL), fetch: fetchOfCall }).chat(model) };
  },
  anthropic: async (env, model) => {
    const { createAnthropic } = await import("@ai-sdk/anthropic");
    const settings = {
      apiKey: required(env.ANTHROPIC_API_KEY, "ANTHROPIC_API_KEY", "anthropic"),
      ...baseUrlOf(versioned(env.ANTHROPIC_BASE_URL, "v1", /\/v\d\w*$/)),
      fetch: fetchOfCall,
    };
    return { model: createAnthropic(settings)(model) };
  },
  google: async (env, model) => {
    const { createGoogleGenerativeAI } = await import("@ai-sdk/google");
    const apiKey = required(googleKey(env), "GOOGLE_GENERATIVE_AI_API_KEY", "google");
    // Google's version stands at the end, and Vertex AI's before the publisher.
    const baseUrl = baseUrlOf(versioned(env.GOOGLE_BASE_URL, "v1beta", /\/v\d\w*(?:\/|$)/));
    const settings = { apiKey, ...baseUrl, fetch: fetchOfCall };
    return { model: createGoogleGenerativeAI(settings)(model) };
  },
  "openai-compatible": async (env, model) => {
    const { OPENAI_COMPATIBLE_BASE_URL: url, OPENAI_COMPATIBLE_API_KEY: key } = env;
    const baseURL = required(url, "OPENAI_COMPATIBLE_BASE_URL", "openai-compatible");
    const opened = await compatibleModel("openai-compatible", baseURL, model);
    return { model: opened, ...(key ? { bearer: key } : {}) };
  },
  ollama: async (env, model) => {
    const root = (env.OLLAMA_BASE_URL ?? "http://localhost:11434").replace(/\/+$/, "");
    const baseURL = root.endsWith("/v1") ? root : `${root}/v1`;
    return { model: await compatibleModel("ollama", baseURL, model) };
  },
};

function isOpenAi(url: string): boolean {
  return URL.parse(url)?.hostname === "api.openai.com";
}

const formats: { [Name in RemoteProvider]: Format } = {
  openai: openaiFormat,
  anthropic: anthropicFormat,
  google: googleFormat,
  "openai-compatible": openaiFormat,
  ollama: openaiFormat,
};

/** A model of the SDK, and the requests of one call to it. */
export type OpenedModel = { model: LanguageModel; fetch: Fetch };

/**
 * Opens a model of a provider for one answer.
 * @param report gets what the provider reports in its answer
 * @param listeners are called while the answer arrives
 * @param background null: the answer ends with its connection. Else the model is one of OpenAI's
 * @throws TerminalError `model_not_configured` that names the missing setting
 */
export async function openModel(
  access: ModelAccess,
  { provider, model }: RemoteModelName,
  report: ProviderReport,
  listeners: AnswerListeners,
  background: BackgroundCall | null,
): Promise<OpenedModel> {
  const format = background === null ? formats[provider] : openaiResponsesFormat;
  const request: CallProvider = (url, init) => (background ?? access).call(url, init);
  const opened = await (background === null ? openers[provider] : openResponses)(access.env, model);
  return {
    model: opened.model,
    fetch: async (address, init = {}) => {
      const send = async (sent: RequestInit): Promise<Response> => {
        const response = await request(urlOf(address), withHeaders(wellFormed(sent), opened.bearer));
        report.left = limitsLeftOf(response.headers, Date.now());
        return readResponse(response, format, report, listeners);
      };
      if (background !== null || typeof init.body !== "string") return send(init);
      return sendWithoutRefused(access, `${provider}/${model}`, { ...init, body: init.body }, send);
    },
  };
}

/** OpenAI's Responses API, which alone makes answers in the background. A gateway that has OpenAI's URL must have this API too. */
async function openResponses(env: ModelEnv, model: string): Promise<Opened> {
  const apiKey = required(env.OPENAI_API_KEY, "OPENAI_API_KEY", "openai");
  const { createOpenAI } = await import("@ai-sdk/openai");
  const openai = createOpenAI({ apiKey, ...baseUrlOf(env.OPENAI_BASE_URL), fetch: fetchOfCall });
  return { model: openai.responses(model) };
}

/**
 * Imports what calls need of the SDK for the providers that are configured: else the first call does, and every run of the worker waits for
 * it, because an import occupies the thread.
 */
export async function preloadPackages(env: ModelEnv): Promise<void> {
  const packages: { [Name in RemoteProvider]: [boolean, () => Promise<unknown>] } = {
    openai: [isSet(env.OPENAI_API_KEY), () => import("@ai-sdk/openai")],
    anthropic: [isSet(env.ANTHROPIC_API_KEY), () => import("@ai-sdk/anthropic")],
    google: [isSet(googleKey(env)), () => import("@ai-sdk/google")],
    "openai-compatible": [isSet(env.OPENAI_COMPATIBLE_BASE_URL), () => import("@ai-sdk/openai-compatible")],
    ollama: [isSet(env.OLLAMA_BASE_URL), () => import("@ai-sdk/openai-compatible")],
  };
  const used = Object.values(packages).filter(([isUsed]) => isUsed);
  if (used.length === 0) return;
  await loadSdk();
  for (const [, load] of used) await load();
}

/**
 * The model of steps that name none: DEFAULT_MODEL, else that of the first provider with a key, else the demo model. A tenant with keys
 * of its own, and none at the provider of that model, gets the model of the first provider where it has one: a tenant that
 * brings a key expects its use.
 * @param own the providers at which the tenant has a key
 */
export function defaultModelOf(env: ModelEnv, own: ReadonlySet<string> = new Set()): string {
  const platform = env.DEFAULT_MODEL || firstWith(hasKeyOf(env)) || "demo/writer";
  const provider = parseModelName(platform)?.provider;
  if (provider !== undefined && own.has(provider)) return platform;
  return firstWith((name) => own.has(name)) ?? platform;
}

function firstWith(hasKey: (provider: RemoteProvider) => boolean): string | undefined {
  return defaultModels.find(([provider]) => hasKey(provider))?.join("/");
}

function hasKeyOf(env: ModelEnv): (provider: RemoteProvider) => boolean {
  const keys: { [name: string]: string | undefined } = {
    openai: env.OPENAI_API_KEY,
    anthropic: env.ANTHROPIC_API_KEY,
    google: googleKey(env),
  };
  return (provider) => isSet(keys[provider]);
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== "";
}

/** An escape in JSON: of half a character, or another one. `JSON.stringify` writes halves as escapes. */
const ESCAPE = /\\(?:u(?:d[89a-f][0-9a-f]{2})|.)/g;

/**
 * A request without halves of characters, which a value of a tenant or of a tool may have: providers refuse the whole request for one
 * (anthropics/claude-code #6273, elizaOS/eliza PR 18079). U+FFFD takes their place.
 */
function wellFormed(init: RequestInit): RequestInit {
  const { body } = init;
  if (typeof body !== "string" || !body.includes("\\ud")) return init;
  return {
    ...init,
    body: body.replaceAll(ESCAPE, (escape) => (escape.startsWith("\\ud") ? "\\ufffd" : escape)),
  };
}

/**
 * A request with the API key of its call. It asks for no beta of Anthropic: the package does so with each tool, no request here needs one,
 * and gateways in front of Bedrock and Vertex refuse those that these do not know (BerriAI/litellm #18145, anthropics/claude-code #49370).
 */
function withHeaders(init: RequestInit, bearer: string | undefined): RequestInit {
  const headers = new Headers(init.headers);
  headers.delete("anthropic-beta");
  if (bearer !== undefined) headers.set("authorization", `Bearer ${bearer}`);
  return { ...init, headers };
}

function urlOf(address: Parameters<Fetch>[0]): string {
  return address instanceof Request ? address.url : String(address);
}

function googleKey(env: ModelEnv): string | undefined {
  return env.GOOGLE_GENERATIVE_AI_API_KEY || env.GEMINI_API_KEY;
}

/**
 * A base URL with the version of its API. The packages want it there, and other clients of these APIs, whose base URLs operators copy, add it
 * themselves (vercel/ai #15542).
 */
function versioned(url: string | undefined, version: string, has: RegExp): string | undefined {
  const base = url?.replace(/\/+$/, "");
  return base === undefined || base === "" || has.test(base) ? base : `${base}/${version}`;
}

function baseUrlOf(url: string | undefined): { baseURL?: string } {
  return url === undefined || url === "" ? {} : { baseURL: url };
}

function required(value: string | undefined, name: string, provider: KeyProvider): string {
  if (value !== undefined && value !== "") return value;
  const message = `this model needs ${name} in the worker's environment, or a key of the tenant: PUT /api/v2/provider-keys/${provider}`;
  throw new TerminalError("model_not_configured", message);
}
