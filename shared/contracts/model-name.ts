import { likelyName } from "../text/nearest-name.ts";
import { priceTable } from "./price-table.ts";

/** A provider of models. `demo`: the scripted model. */
export type Provider = "openai" | "anthropic" | "google" | "openai-compatible" | "ollama" | "demo";

/** A parsed name of a model. `model`: the provider's own name for it. */
export type ModelName = { provider: Provider; model: string };

const PROVIDER_BY_SLASH: ReadonlyMap<string, Provider> = new Map(
  Object.entries<Provider>({
    openai: "openai",
    anthropic: "anthropic",
    google: "google",
    gemini: "google",
    ollama: "ollama",
    "openai-compatible": "openai-compatible",
    demo: "demo",
  }),
);

/** Imported definitions name a model without its provider: the beginning of the name determines it. */
const PROVIDER_BY_NAME: [RegExp, Provider][] = [
  [/^(?:gpt|o\d|chatgpt)/, "openai"],
  [/^claude/, "anthropic"],
  [/^(?:gemini|gemma|lyria)/, "google"],
];
/** Prefixes with a dot that models in imported definitions may have. */
const PROVIDER_BY_DOT: [string, Provider][] = [
  ["ollama.", "ollama"],
  ["oaic.", "openai-compatible"],
  ["locv1.", "openai-compatible"],
];

/** The name of the model that a definition asks for. Null, the default model: when it is absent, empty or `default`. */
export function modelOf(model: string | null, provider: string | null = null): string | null {
  if (model === null || model === "" || model === "default") return null;
  if (provider === null || provider === "") return model;
  // A provider's own name for a model may have a slash: meta/llama-3.3-70b.
  const slash = model.indexOf("/");
  return slash >= 0 && PROVIDER_BY_SLASH.has(model.slice(0, slash)) ? model : `${provider}/${model}`;
}

/** Parses `provider/model`, or a model's name in an imported definition. Null when it determines no provider. */
export function parseModelName(name: string): ModelName | null {
  const slash = name.indexOf("/");
  const provider = slash < 0 ? undefined : PROVIDER_BY_SLASH.get(name.slice(0, slash));
  if (provider !== undefined)
    return slash + 1 < name.length ? { provider, model: name.slice(slash + 1) } : null;
  const dotted = PROVIDER_BY_DOT.find(([prefix]) => name.startsWith(prefix) && name.length > prefix.length);
  if (dotted !== undefined) return { provider: dotted[1], model: name.slice(dotted[0].length) };
  const named = PROVIDER_BY_NAME.find(([pattern]) => pattern.test(name));
  return named === undefined ? null : { provider: named[1], model: name };
}

/** The error text of a name that determines no provider, with the nearest name that does. */
export function unknownModel(name: string): string {
  if (/^cli[./]/.test(name)) {
    return `"${name}" is a program on the predecessor's machine, which is not started here: name its provider's model, such as anthropic/claude-sonnet-4-6`;
  }
  const nearest = nearestModel(name);
  return `"${name}" names no model: ${nearest === null ? withProvider(name) : `did you mean "${nearest}"?`}`;
}

/** What to write for a name without a known provider: the predecessor takes most of them for models of Ollama. */
function withProvider(name: string): string {
  if (!/^[\w.:-]+$/.test(name)) {
    return `write provider/model, such as openai/gpt-4.1-mini; the providers are ${[...PROVIDER_BY_SLASH.keys()].join(", ")}`;
  }
  const own = name.replace(/^(?:bedrock|hf)\./, "");
  return `write ollama/${own} where Ollama has it, or openai-compatible/${own} for a server with OpenAI's API (its URL is OPENAI_COMPATIBLE_BASE_URL of the workers, or base_url of the tenant's provider key)`;
}

function nearestModel(name: string): string | null {
  const slash = name.indexOf("/");
  if (slash < 0) return likelyName(name, [...priceTable.keys()]);
  const provider = likelyName(name.slice(0, slash), [...PROVIDER_BY_SLASH.keys()]);
  return provider === null || slash + 1 === name.length ? null : `${provider}${name.slice(slash)}`;
}
