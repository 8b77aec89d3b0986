/** The name of the model that a definition asks for. Null, the default model: when it is absent, empty or `default`. */
export function modelOf(model: string | null, provider: string | null = null): string | null {
  if (model === null || model === "" || model === "default") return null;
  return provider === null || provider === "" || model.includes("/") ? model : `${provider}/${model}`;
}
