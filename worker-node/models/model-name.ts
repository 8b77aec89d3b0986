export type Provider = "openai" | "anthropic" | "google" | "openai-compatible" | "ollama" | "demo";

export type ModelName = { provider: Provider; model: string };

const BY_SLASH: ReadonlyMap<string, Provider> = new Map(
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

/** How the original names models: a prefix of the model's own name, or a prefix and a dot. */
const BY_PREFIX: [RegExp, Provider][] = [
  [/^(?:gpt|o\d|chatgpt)/, "openai"],
  [/^claude/, "anthropic"],
  [/^(?:gemini|gemma|lyria)/, "google"],
];
const BY_DOT: [string, Provider][] = [
  ["ollama.", "ollama"],
  ["oaic.", "openai-compatible"],
  ["locv1.", "openai-compatible"],
];

/** The provider and the model that a model string means, or null where it means none. */
export function readModelName(name: string): ModelName | null {
  const slash = name.indexOf("/");
  const provider = slash < 0 ? undefined : BY_SLASH.get(name.slice(0, slash));
  if (provider !== undefined)
    return slash + 1 < name.length ? { provider, model: name.slice(slash + 1) } : null;
  const dotted = BY_DOT.find(([prefix]) => name.startsWith(prefix) && name.length > prefix.length);
  if (dotted !== undefined) return { provider: dotted[1], model: name.slice(dotted[0].length) };
  const prefixed = BY_PREFIX.find(([pattern]) => pattern.test(name));
  return prefixed === undefined ? null : { provider: prefixed[1], model: name };
}
