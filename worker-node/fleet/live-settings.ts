import { s3BucketOf } from "../../shared/contracts/s3-bucket.ts";
import type { S3Bucket } from "../../shared/contracts/s3-bucket.ts";
import { settingSchemas } from "../../shared/contracts/setting.ts";
import type { OpenSettings, StoredSetting } from "../../shared/contracts/setting.ts";
import { log, messageOf } from "../../shared/log.ts";
import { openSettings } from "../../shared/security/open-settings.ts";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import type { Config } from "../config.ts";

type Variables = Pick<
  Config,
  "MAX_GLOBAL_QUEUE_DEPTH" | "METRICS_TOKEN" | "OTLP_ENDPOINT" | "MASTER_KEY" | "MASTER_KEYS"
>;

/**
 * The settings of operators that concern a worker, in place of its variables. Each reply to a beat brings them: a change acts within
 * 5 s, without a read of its own. docs/protocol.md 5.24.
 */
export class LiveSettings {
  readonly #variables: Variables;
  readonly #onChange: () => Promise<void>;
  #stored = "[]";
  #settings: OpenSettings = {};
  #replacing: Promise<void> = Promise.resolve();

  /** @param onChange called after each change of the settings; claims that follow the change wait for it */
  constructor(variables: Variables, onChange: () => Promise<void> = async () => {}) {
    this.#variables = variables;
    this.#onChange = onChange;
  }

  /** The most runs that may be queued in all shards together. */
  readonly maxQueueDepth = (): number => {
    const { MAX_GLOBAL_QUEUE_DEPTH: depth } = this.#settings;
    if (depth === undefined) return this.#variables.MAX_GLOBAL_QUEUE_DEPTH;
    return settingSchemas.MAX_GLOBAL_QUEUE_DEPTH.parse(depth);
  };
  /** The most runs that may be queued in one of `shards` shards. */
  readonly maxShardDepth = (shards: number): number => Math.ceil(this.maxQueueDepth() / shards);

  /** The bearer of scrapers; undefined: none is accepted. */
  readonly metricsToken = (): string | undefined =>
    this.#settings.METRICS_TOKEN ?? this.#variables.METRICS_TOKEN;

  /** The collector of traces; null: nothing is traced. */
  get otlpEndpoint(): string | null {
    const { OTLP_ENDPOINT: endpoint } = this.#settings;
    if (endpoint === undefined) return this.#variables.OTLP_ENDPOINT ?? null;
    return settingSchemas.OTLP_ENDPOINT.parse(endpoint);
  }

  /** The bucket that the settings name; null: that of the variables holds. */
  get s3Bucket(): S3Bucket | null {
    return s3BucketOf(this.#settings);
  }

  /**
   * Replaces the settings by those of a reply; the settings of the last call hold. A setting that this worker cannot use is logged, and its
   * old value holds.
   */
  replace(settings: readonly StoredSetting[]): Promise<void> {
    const stored = JSON.stringify(settings);
    if (stored === this.#stored) return this.#replacing;
    this.#stored = stored;
    this.#replacing = this.#replacing.then(() => this.#open(settings));
    return this.#replacing;
  }

  async #open(settings: readonly StoredSetting[]): Promise<void> {
    this.#settings = await openSettings(settings, masterKeysOf(this.#variables), this.#settings);
    try {
      await this.#onChange();
    } catch (error) {
      // The worker goes on with what it had: neither tracing nor the object store is worth its beats.
      log.error("settings.not_applied", { message: messageOf(error) });
    }
    // Names alone: some of the values are secrets.
    log.info("settings.changed", { names: settings.map(({ name }) => name).join(" ") });
  }
}
