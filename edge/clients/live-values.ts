import type { TenantId } from "../../shared/contracts/ids.ts";
import type { OpenSettings } from "../../shared/contracts/setting.ts";
import { log, messageOf } from "../../shared/log.ts";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { openSettings } from "../../shared/security/open-settings.ts";
import { readLiveValues } from "../../shared/store/settings.ts";
import type { EdgeLimits } from "../../shared/store/settings.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { LIVE_VALUES_MS } from "../../shared/timing.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { withSettings } from "../env.ts";
import type { Config } from "../env.ts";

/** Values of this age are read again, after the response of a request. */
const REFRESH_MS = LIVE_VALUES_MS / 2;
/** The most tenants whose limits an isolate remembers, and the most whose limits one statement reads. */
const MAX_TENANTS = 10_000;
const READ_TENANTS = 500;

/** Lends a connection to Postgres to `run`. */
type Query = <Result>(run: (sql: Sql) => Promise<Result>) => Promise<Result>;

/** The limits of a tenant. `readMs`: the time of the read. `usedMs`: the time at which a request last needed them. */
type Known = { limits: EdgeLimits | null; readMs: number; usedMs: number };

/**
 * The values that operators may change while the edge runs: the settings, and the limits of tenants that the edge enforces itself.
 *
 * While Postgres can be reached, a request uses values that were read LIVE_VALUES_MS ago at most. A busy isolate reads them after a
 * response. A request waits for a read only when the isolate had no request for that long, or when it is the first of its tenant.
 * After a failed read no request waits until a read succeeds: each would wait a second for Postgres, and then again for its own query.
 */
export class LiveValues {
  readonly #base: Config;
  #config: Config;
  #readMs = -Infinity;
  #beganMs = -Infinity;
  #hasFailed = false;
  #settings: OpenSettings = {};
  readonly #tenants = new Map<TenantId, Known>();

  constructor(base: Config) {
    this.#base = base;
    this.#config = base;
  }

  /** The variables, each replaced by the setting of its name if that is set. */
  get config(): Config {
    return this.#config;
  }

  /** The limits of a tenant; null: it does not exist yet, or its limits are not known. */
  limitsOf(tenant: TenantId): EdgeLimits | null {
    return this.#tenants.get(tenant)?.limits ?? null;
  }

  /** Makes the next request read the values again. Call it after a change. */
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
    const nowMs = elapsedMs();
    const known = tenant === null ? undefined : this.#tenants.get(tenant);
    if (known) known.usedMs = nowMs;
    const oldestMs = Math.min(this.#readMs, tenant === null ? Infinity : (known?.readMs ?? -Infinity));
    if (nowMs - oldestMs < REFRESH_MS) return;
    if (nowMs - oldestMs >= LIVE_VALUES_MS && !this.#hasFailed) return this.#read(query, tenant);
    if (nowMs - this.#beganMs < REFRESH_MS) return;
    waitUntil(this.#read(query, tenant));
  }

  /** Reads the values. Never throws: after a failure the values stay as they are, and a later request reads them. */
  async #read(query: Query, tenant: TenantId | null): Promise<void> {
    const beganMs = elapsedMs();
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
      const opened = await openSettings(settings, masterKeysOf(this.#base), this.#settings);
      if (beganMs < this.#readMs) return;
      this.#readMs = beganMs;
      this.#settings = opened;
      this.#config = withSettings(this.#base, opened);
    } catch (error) {
      this.#hasFailed = true;
      log.warn("live_values.not_read", { message: messageOf(error) });
    }
  }

  /** The tenants whose limits a request has needed within LIVE_VALUES_MS, at most 500. */
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
