export type Provider = "openai" | "anthropic" | "google" | "openai-compatible" | "ollama" | "demo";

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
