import { setTimeout as sleep } from "node:timers/promises";
import { KeyProvider, providerKeyPlace } from "../../shared/contracts/provider-key.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { unsealed } from "../../shared/security/seal.ts";
import type { SealedProviderKey } from "../../shared/store/money/provider-keys.ts";
import { isUnknownVerb } from "../clients/http-state.ts";
import { RetryableError } from "../engine/step-errors.ts";
import { abortable } from "../execution/stop.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import { callDirectly, callGuarded } from "./call-provider.ts";
import { FreshCopy } from "./fresh-copy.ts";
import type { ModelAccess } from "./model-access.ts";

/** The most tenants whose keys a worker keeps. Those of the tenant that has called least recently go first. */
const MAX_TENANTS = 1_000;
/** The keys of a tenant are read at most once in this time. While the store answers, no call uses an older copy. */
const TIMES = { freshMs: 5_000, staleMs: 5_000 };
/** The pause between two reads while it is not known whether a tenant has keys. */
const PAUSE_MS = 500;

/** The providers' own addresses. The SDKs would take another one from the variables of this process, which is the operator's. */
const OWN_ADDRESS: { [Name in Exclude<KeyProvider, "openai-compatible">]: string } = {
  openai: "https://api.openai.com/v1",
  anthropic: "https://api.anthropic.com/v1",
  google: "https://generativelanguage.googleapis.com/v1beta",
};

/** A key of a tenant. `apiKey` null: it does not open here. */
type TenantKey = { apiKey: string | null; baseUrl: string | null };
type KeysByProvider = ReadonlyMap<string, TenantKey>;
type Refused = Pick<ModelAccess, "withoutToolChoice" | "withoutTools" | "withoutFields">;
type Kept = { copy: FreshCopy<KeysByProvider | null>; refused: Refused };

/**
 * The keys of tenants at providers, for the model calls of their runs: docs/protocol.md 5.34. A change acts within 5 s while the
 * store answers; without it the last known keys hold, and a call of a tenant that is not known yet waits.
 */
export class TenantKeys {
  readonly #read: (tenant: TenantId) => Promise<SealedProviderKey[]>;
  readonly #masterKey: MasterKeys | null;
  readonly #egress: Egress;
  readonly #kept = new Map<TenantId, Kept>();
  /** The store has answered: it knows keys of tenants. */
  #hasAnswered = false;

  /** @param masterKey null: this worker opens no key */
  constructor(
    read: (tenant: TenantId) => Promise<SealedProviderKey[]>,
    { masterKey, egress }: { masterKey: MasterKeys | null; egress: Egress },
  ) {
    this.#read = read;
    this.#masterKey = masterKey;
    this.#egress = egress;
  }

  /**
   * How the calls of a tenant reach a provider; null: it has no key there, so they use the operator's.
   * @throws RetryableError `provider_key_sealed`: another try may run on a worker that has the right MASTER_KEY
   */
  async accessOf(tenant: TenantId, provider: string, signal: AbortSignal): Promise<ModelAccess | null> {
    const known = KeyProvider.safeParse(provider);
    if (!known.success) return null;
    const { keys, refused } = await this.#keysOf(tenant, signal);
    const key = keys.get(known.data);
    if (key === undefined) return null;
    const { apiKey, baseUrl } = key;
    if (apiKey === null) {
      const message = `the tenant's key at ${provider} cannot be opened: MASTER_KEY is missing, or is not the key that sealed it`;
      throw new RetryableError("provider_key_sealed", message);
    }
    const access = { env: envOf(known.data, apiKey, baseUrl), own: { tenant, apiKey }, ...refused };
    return { ...access, call: baseUrl === null ? callDirectly : callGuarded(this.#egress) };
  }

  /** The providers at which a tenant has a key. */
  async providersOf(tenant: TenantId, signal: AbortSignal): Promise<ReadonlySet<string>> {
    const { keys } = await this.#keysOf(tenant, signal);
    return new Set(keys.keys());
  }

  async #keysOf(tenant: TenantId, signal: AbortSignal): Promise<{ keys: KeysByProvider; refused: Refused }> {
    for (;;) {
      const kept = this.#keptOf(tenant);
      const { copy, refused } = kept;
      await abortable(signal, copy.refresh());
      if (copy.value !== null) return { keys: copy.value, refused };
      // The operator's key is no substitute for a tenant's key that may exist.
      if (this.#kept.get(tenant) === kept) this.#kept.delete(tenant);
      await abortable(signal, sleep(PAUSE_MS));
    }
  }

  #keptOf(tenant: TenantId): Kept {
    const kept = this.#kept.get(tenant) ?? {
      copy: new FreshCopy<KeysByProvider | null>("provider_keys", null, () => this.#open(tenant), TIMES),
      refused: {
        withoutToolChoice: new Set<string>(),
        withoutTools: new Set<string>(),
        withoutFields: new Map<string, ReadonlySet<string>>(),
      },
    };
    this.#kept.delete(tenant);
    this.#kept.set(tenant, kept);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MAX_TENANTS && oldest !== undefined) this.#kept.delete(oldest);
    return kept;
  }

  async #open(tenant: TenantId): Promise<KeysByProvider> {
    const rows = await this.#rowsOf(tenant);
    const opened = rows.map(async ({ provider, api_key, base_url }): Promise<[string, TenantKey]> => {
      const apiKey = await unsealed(this.#masterKey, api_key, providerKeyPlace(tenant, provider));
      return [provider, { apiKey, baseUrl: base_url }];
    });
    return new Map(await Promise.all(opened));
  }

  async #rowsOf(tenant: TenantId): Promise<SealedProviderKey[]> {
    try {
      const rows = await this.#read(tenant);
      this.#hasAnswered = true;
      return rows;
    } catch (error) {
      // Workers are deployed before edges: behind edges of an earlier version no tenant has saved a key.
      if (isUnknownVerb(error) && !this.#hasAnswered) return [];
      throw error;
    }
  }
}

function envOf(provider: KeyProvider, apiKey: string, baseUrl: string | null): ModelAccess["env"] {
  switch (provider) {
    case "openai":
      return { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: baseUrl ?? OWN_ADDRESS.openai };
    case "anthropic":
      return { ANTHROPIC_API_KEY: apiKey, ANTHROPIC_BASE_URL: baseUrl ?? OWN_ADDRESS.anthropic };
    case "google":
      return { GOOGLE_GENERATIVE_AI_API_KEY: apiKey, GOOGLE_BASE_URL: baseUrl ?? OWN_ADDRESS.google };
    case "openai-compatible":
      return { OPENAI_COMPATIBLE_API_KEY: apiKey, OPENAI_COMPATIBLE_BASE_URL: baseUrl ?? undefined };
  }
}
