import { setTimeout as sleep } from "node:timers/promises";
import { log, messageOf } from "../../shared/log.ts";
import type { DueDelivery, Receiver } from "../../shared/store/webhooks/claim-deliveries.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { LaneSettingsOf } from "../../shared/contracts/lane-settings.ts";
import { ClaimPasses } from "../outbound/claim-passes.ts";
import { LaneStarts } from "../outbound/lane-starts.ts";
import { OpenTries } from "./open-tries.ts";
import type { OutcomeCounts } from "./open-tries.ts";
import type { WebhookDeps } from "./post-delivery.ts";

/** The most deliveries of one claim. The claim limits the share of each receiver and each tenant. */
const MAX_PER_CLAIM = 100;
/** The most claims without a delivery in one pass. Every request that ends causes a pass, and there may be many receivers. */
const MAX_EMPTY_CLAIMS = 3;
/** The pause in which another worker's claim commits and releases its locks. */
const LOCKED_PAUSE_MS = 20;

/**
 * Sends the due webhook deliveries: docs/protocol.md 7.7. Postgres chooses them and leases them to this worker, so a
 * worker that dies loses none. A request whose outcome was not written is sent again, with the same `webhook-id`.
 *
 * A request that has ended causes a pass. The requests use none of the worker's slots for runs. The settings of the lane `webhooks` say how many
 * are open at once, and how many all workers together begin in a second.
 */
export class WebhookSender {
  readonly sent: OutcomeCounts = { delivered: 0, rejected: 0, expired: 0, retried: 0 };
  readonly #store: StateStore;
  readonly #canSign: boolean;
  readonly #tries: OpenTries;
  readonly #settings: LaneSettingsOf;
  readonly #starts: LaneStarts;
  readonly #passes = new ClaimPasses(
    () => this.#claimAll(),
    (error) => log.warn("webhook.claim_failed", { message: messageOf(error) }),
  );
  /** Deliveries of a claim that ended after the drain began: they are not sent. */
  readonly #unsent: DueDelivery[] = [];
  /** The receiver after which the next claim begins; null: it begins with the first. */
  #cursor: Receiver | null = null;

  constructor(store: StateStore, deps: WebhookDeps) {
    this.#store = store;
    this.#canSign = deps.masterKey !== null;
    this.#settings = deps.laneSettings;
    this.#starts = new LaneStarts("webhooks", store, deps.laneSettings);
    this.#tries = new OpenTries(store, deps, this.sent, () => this.wake());
  }

  start(): void {
    this.#passes.start();
  }

  /** Claims what is due, now or after the claims under way. */
  wake(): void {
    this.#passes.wake();
  }

  /** Claims no more, gives open requests `graceMs` to end, and releases the rest: other workers may claim it at once. */
  async drain(graceMs: number): Promise<void> {
    await this.#passes.stop();
    const interrupted = await this.#tries.drain(graceMs);
    await this.#release([...this.#unsent, ...interrupted]);
  }

  /**
   * Claims until nothing is due or all slots are taken. Receivers take turns: each claim, also of the next pass, begins
   * after the receiver where the one before it ended.
   */
  async #claimAll(): Promise<void> {
    for (let emptyClaims = 0; emptyClaims < MAX_EMPTY_CLAIMS;) {
      const free = Math.min(MAX_PER_CLAIM, (this.#settings("webhooks").slots ?? Infinity) - this.#tries.size);
      if (!this.#passes.isActive || free <= 0) return;
      const { granted, nextMs } = await this.#starts.take(free);
      if (granted === 0) return this.#passes.wakeAfter(nextMs);
      const claimedMs = performance.now();
      const from = this.#cursor;
      const busy = this.#tries.busyReceivers();
      const claimed = await this.#store.claimDeliveries(granted, busy, from, this.#canSign);
      this.#cursor = claimed.after;
      this.sent.expired += claimed.expired;
      this.sent.rejected += claimed.withdrawn;
      for (const delivery of claimed.deliveries) this.#begin(delivery, claimedMs);
      await this.#starts.giveBack(granted - claimed.deliveries.length);
      if (claimed.deliveries.length + claimed.expired + claimed.withdrawn > 0) continue;
      emptyClaims += 1;
      // Other claimers had locked the deliveries that this claim chose; more may be due behind them at the same place.
      if (claimed.missed > 0) {
        this.#cursor = from;
        await sleep(LOCKED_PAUSE_MS);
      } else if (from === null && claimed.after === null) return;
    }
  }

  #begin(delivery: DueDelivery, claimedMs: number): void {
    if (this.#passes.isActive) this.#tries.begin(delivery, claimedMs);
    else this.#unsent.push(delivery);
  }

  async #release(deliveries: readonly DueDelivery[]): Promise<void> {
    if (deliveries.length === 0) return;
    const claims = deliveries.map(({ delivery_id, tries }) => ({ delivery_id, tries }));
    await this.#store.releaseDeliveries(claims).catch((error: unknown) => {
      // The leases of the deliveries lapse, and then any worker may claim them.
      log.warn("webhook.release_failed", { deliveries: claims.length, message: messageOf(error) });
    });
  }
}
