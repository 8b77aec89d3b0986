import type { ModelName } from "../../shared/contracts/model-name.ts";

/** No failure: a call to a model may not begin yet, because of what all workers together may ask of its provider. */
export class ProviderWait extends Error {
  readonly code: "provider_limit" | "provider_open";
  readonly provider: string;
  readonly model: string;
  readonly afterMs: number;

  constructor(why: "limit" | "open", { provider, model }: ModelName, afterMs: number) {
    const name = `${provider}/${model}`;
    super(
      why === "open"
        ? `${name}: its provider has failed several times in a row, and is called again when one call has succeeded`
        : `${name}: what may be asked of its provider at a time is used up`,
    );
    this.name = "ProviderWait";
    this.code = `provider_${why}`;
    this.provider = provider;
    this.model = name;
    this.afterMs = afterMs;
  }
}
