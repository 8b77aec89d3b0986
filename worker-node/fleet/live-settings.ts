import { settingSchemas } from "../../shared/contracts/setting.ts";
import type { StoredSetting } from "../../shared/contracts/setting.ts";
import { log } from "../../shared/log.ts";
import { openSettings } from "../../shared/security/open-settings.ts";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import type { Config } from "../config.ts";

type Variables = Pick<Config, "MAX_GLOBAL_QUEUE_DEPTH" | "METRICS_TOKEN" | "MASTER_KEY" | "MASTER_KEYS">;

/**
 * The settings of operators that concern a worker, in place of its variables. Each reply to a beat brings them: a change acts within
 * 5 s, without a read of its own. docs/protocol.md 5.24.
 */
export class LiveSettings {
  readonly #variables: Variables;
  #stored = "[]";
  #values: Pick<Variables, "MAX_GLOBAL_QUEUE_DEPTH" | "METRICS_TOKEN">;

  constructor(variables: Variables) {
    this.#variables = variables;
    this.#values = variables;
  }

  /** The most runs that may be queued in all shards together. */
  readonly maxQueueDepth = (): number => this.#values.MAX_GLOBAL_QUEUE_DEPTH;
  /** The most runs that may be queued in one of `shards` shards. */
  readonly maxShardDepth = (shards: number): number => Math.ceil(this.maxQueueDepth() / shards);

  /** The bearer of scrapers; undefined: none is accepted. */
  readonly metricsToken = (): string | undefined => this.#values.METRICS_TOKEN;

  /** Replaces the settings by those of a reply. A setting that this worker cannot use is logged and left out. */
  async replace(settings: readonly StoredSetting[]): Promise<void> {
    const stored = JSON.stringify(settings);
    if (stored === this.#stored) return;
    this.#stored = stored;
    const { MAX_GLOBAL_QUEUE_DEPTH: depth, METRICS_TOKEN: token } = await openSettings(
      settings,
      masterKeysOf(this.#variables),
    );
    // A later reply has brought others while these were opened.
    if (stored !== this.#stored) return;
    this.#values = {
      MAX_GLOBAL_QUEUE_DEPTH:
        depth === undefined
          ? this.#variables.MAX_GLOBAL_QUEUE_DEPTH
          : settingSchemas.MAX_GLOBAL_QUEUE_DEPTH.parse(depth),
      METRICS_TOKEN: token ?? this.#variables.METRICS_TOKEN,
    };
    // Names alone: one of the values is a secret.
    log.info("settings.changed", { names: settings.map(({ name }) => name).join(" ") });
  }
}
