/** A model as a definition names it, or null for the default: absent, empty or `default`. */
export function modelOf(model: string | null, provider: string | null = null): string | null {
  if (model === null || model === "" || model === "default") return null;
  return provider === null || provider === "" || model.includes("/") ? model : `${provider}/${model}`;
}
