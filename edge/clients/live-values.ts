import type { TenantId } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { openSettings } from "../../shared/security/open-settings.ts";
import { readLiveValues } from "../../shared/store/settings.ts";
import type { EdgeLimits } from "../../shared/store/settings.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { LIVE_VALUES_MS } from "../../shared/timing.ts";
import { withSettings } from "../env.ts";
import type { Config } from "../env.ts";

/** At half of the age that values may have, a request reads them again after its response. */
const REFRESH_MS = LIVE_VALUES_MS / 2;
/** The most tenants whose limits an isolate remembers, and the most that one read asks for. */
const MAX_TENANTS = 10_000;
const READ_TENANTS = 500;

/** Lends a connection to Postgres to `run`. */
type Query = <Result>(run: (sql: Sql) => Promise<Result>) => Promise<Result>;

/** `usedMs`: when a request last needed them. */
type Known = { limits: EdgeLimits | null; readMs: number; usedMs: number };

/**
 * What operators may change while the edge runs: the settings, and the limits of tenants that the edge enforces itself.
 *
 * Guarantee: a request uses values that were read LIVE_VALUES_MS ago at most, while Postgres can be reached. A busy isolate
 * reads them after a response, so requests wait for them only after a silence, and a tenant's first one. When a read has failed,
 * requests wait for none until one succeeds: each would wait a second for Postgres before it waits for its own query.
 */
export class LiveValues {
  readonly #base: Config;
  #config: Config;
  #readMs = -Infinity;
  #beganMs = -Infinity;
  #hasFailed = false;
  readonly #tenants = new Map<TenantId, Known>();

  constructor(base: Config) {
    this.#base = base;
    this.#config = base;
  }

  /** The variables, with the settings in place of those that are set. */
  get config(): Config {
    return this.#config;
  }

  /** Null: the tenant does not exist yet, or its limits are not known. */
  limitsOf(tenant: TenantId): EdgeLimits | null {
    return this.#tenants.get(tenant)?.limits ?? null;
  }

  /** The next request reads the values again: they were changed. */
  expire(): void {
    this.#readMs = this.#beganMs = -Infinity;
    this.#hasFailed = false;
    for (const known of this.#tenants.values()) known.readMs = -Infinity;
  }

  /**
   * Reads the values again when they are due. Call it before they are used.
   * @param tenant the tenant whose limits the request needs; null: none
   */
  async refresh(
    query: Query,
    tenant: TenantId | null,
    waitUntil: (work: Promise<unknown>) => void,
  ): Promise<void> {
    const nowMs = Date.now();
    const known = tenant === null ? undefined : this.#tenants.get(tenant);
    if (known) known.usedMs = nowMs;
    const oldestMs = Math.min(this.#readMs, tenant === null ? Infinity : (known?.readMs ?? -Infinity));
    if (nowMs - oldestMs < REFRESH_MS) return;
    if (nowMs - oldestMs >= LIVE_VALUES_MS && !this.#hasFailed) return this.#read(query, tenant);
    if (nowMs - this.#beganMs < REFRESH_MS) return;
    waitUntil(this.#read(query, tenant));
  }

  /** A failure leaves the values as they are, and a later request reads again. */
  async #read(query: Query, tenant: TenantId | null): Promise<void> {
    const beganMs = Date.now();
    this.#beganMs = beganMs;
    const tenants = this.#recent(beganMs);
    if (tenant !== null && !tenants.includes(tenant)) tenants.push(tenant);
    try {
      const { settings, tenants: rows } = await query((sql) => readLiveValues(sql, tenants));
      this.#hasFailed = false;
      const limits = new Map(rows.map((row) => [row.tenant_id, row]));
      for (const id of tenants) {
        const { readMs = -Infinity, usedMs = beganMs } = this.#tenants.get(id) ?? {};
        if (beganMs >= readMs)
          this.#remember(id, { limits: limits.get(id) ?? null, readMs: beganMs, usedMs });
      }
      const opened = await openSettings(settings, masterKeysOf(this.#base));
      if (beganMs < this.#readMs) return;
      this.#readMs = beganMs;
      this.#config = withSettings(this.#base, opened);
    } catch (error) {
      this.#hasFailed = true;
      log.warn("live_values.not_read", { message: messageOf(error) });
    }
  }

  /** The tenants that send requests now. */
  #recent(nowMs: number): TenantId[] {
    const recent = [...this.#tenants].filter(([, { usedMs }]) => nowMs - usedMs < LIVE_VALUES_MS);
    return recent.slice(-READ_TENANTS).map(([tenant]) => tenant);
  }

  #remember(tenant: TenantId, known: Known): void {
    const oldest = this.#tenants.keys().next();
    if (!this.#tenants.has(tenant) && this.#tenants.size >= MAX_TENANTS && !oldest.done)
      this.#tenants.delete(oldest.value);
    this.#tenants.set(tenant, known);
  }
}

const ofConfig = new WeakMap<Config, LiveValues>();

/** The values of an isolate. @param base the variables alone */
export function liveValuesOf(base: Config): LiveValues {
  const known = ofConfig.get(base);
  if (known) return known;
  const fresh = new LiveValues(base);
  ofConfig.set(base, fresh);
  return fresh;
}
