import { setTimeout as sleep } from "node:timers/promises";
import { log, messageOf } from "../../shared/log.ts";
import { SENDING_LEASE_MS } from "../../shared/store/webhooks/claim-deliveries.ts";
import type { BusyReceiver, DueDelivery, Receiver } from "../../shared/store/webhooks/claim-deliveries.ts";
import type { DeliveryState, TryResult } from "../../shared/store/webhooks/sending.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { Stop } from "../execution/stop.ts";
import { post } from "./post-delivery.ts";
import type { Outside } from "./post-delivery.ts";
import { REQUEST_LIMIT_MS } from "./verdict.ts";

/** Requests that this worker has open at once; the claim keeps the share of each receiver and tenant small. */
const SLOTS = 64;
const LOOK_EVERY_MS = 5_000;
/** Claims that bring nothing, in one look: it may be woken by each request that ends, and receivers may be many. */
const EMPTY_CLAIMS = 3;
/** Others are done with what they hold by then. */
const MISSED_PAUSE_MS = 20;
/** An outcome that cannot be written is tried again so often, and sent again after that. */
const SAVE_PAUSES_MS = [200, 1_000, 3_000];

/** What became of tries, since this process started. */
export type Sent = Record<"delivered" | "rejected" | "expired" | "retried", number>;

type Open = { delivery: DueDelivery; done: Promise<void> };

/**
 * Sends what is due of the deliveries: docs/protocol.md 7.7. Postgres says what, and lends it for a time, so
 * none is lost with a worker; a request whose outcome nobody wrote is sent again, with the same `webhook-id`.
 *
 * It looks when it is woken, when a request has ended, and every 5 s for what others have left. Runs do not wait for
 * it: its requests take no slots of theirs.
 */
export class Sender {
  readonly sent: Sent = { delivered: 0, rejected: 0, expired: 0, retried: 0 };
  readonly #store: StateStore;
  readonly #outside: Outside;
  readonly #open = new Map<string, Open>();
  readonly #unfinished: DueDelivery[] = [];
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #claiming = false;
  #looking: Promise<void> | null = null;
  #again = false;
  #after: Receiver | null = null;
  #isAway = false;

  constructor(store: StateStore, outside: Outside) {
    this.#store = store;
    this.#outside = outside;
  }

  start(): void {
    this.#claiming = true;
    this.#timer = setInterval(() => this.wake(), LOOK_EVERY_MS);
    this.wake();
  }

  /** There may be something due: looks now, or again after the look under way. */
  wake(): void {
    if (!this.#claiming) return;
    if (this.#looking) {
      this.#again = true;
      return;
    }
    this.#looking = this.#look()
      .catch((error: unknown) => this.#logAway(error))
      .finally(() => {
        this.#looking = null;
        if (!this.#again) return;
        this.#again = false;
        this.wake();
      });
  }

  /** Claims no more, lets what is open end for `graceMs`, and gives the rest back: it is due at once, for others. */
  async drain(graceMs: number): Promise<void> {
    this.#claiming = false;
    clearInterval(this.#timer);
    await this.#looking;
    await Promise.race([this.#allDone(), sleep(graceMs)]);
    this.#stop.abort(new Stop("drain", "the worker is shutting down"));
    await Promise.race([this.#allDone(), sleep(2_000)]);
    await this.#giveBack(this.#unfinished);
  }

  async #allDone(): Promise<void> {
    await Promise.all(Array.from(this.#open.values(), ({ done }) => done));
  }

  /**
   * Claims until nothing is due, or all slots are taken. Each claim takes slots, or is one of the few that may be for
   * nothing; the next look goes on behind the receiver where this one ends.
   */
  async #look(): Promise<void> {
    for (let empty = 0; empty < EMPTY_CLAIMS;) {
      const free = SLOTS - this.#open.size;
      if (!this.#claiming || free <= 0) return;
      const [askedMs, from] = [performance.now(), this.#after];
      const signs = this.#outside.masterKey !== null;
      const claimed = await this.#store.claimDeliveries(free, this.#busy(), from, signs);
      this.#isAway = false;
      this.#after = claimed.after;
      this.sent.expired += claimed.expired;
      for (const delivery of claimed.deliveries) this.#begin(delivery, askedMs);
      if (claimed.deliveries.length > 0 || claimed.expired > 0) continue;
      empty += 1;
      // What others hold was chosen before all else: the rest is looked at when they have it.
      if (claimed.missed > 0) {
        this.#after = from;
        await sleep(MISSED_PAUSE_MS);
      } else if (from === null && claimed.after === null) return;
    }
  }

  #busy(): BusyReceiver[] {
    const open = Array.from(this.#open.values(), ({ delivery: { tenant_id, host } }) => ({
      tenant_id,
      host,
    }));
    const byReceiver = Map.groupBy(open, ({ tenant_id, host }) => `${tenant_id} ${host}`);
    return [...byReceiver.values()].flatMap(([first, ...others]) =>
      first ? [{ ...first, n: others.length + 1 }] : [],
    );
  }

  #begin(delivery: DueDelivery, claimedMs: number): void {
    // Not by its id alone: while an outcome cannot be written the lease may lapse, and the next try begin here.
    const key = `${delivery.delivery_id} ${delivery.tries}`;
    const done = this.#try(delivery, claimedMs)
      .catch((error: unknown) => {
        log.error("webhook.failed", { delivery: delivery.delivery_id, message: messageOf(error) });
      })
      .finally(() => {
        this.#open.delete(key);
        this.wake();
      });
    this.#open.set(key, { delivery, done });
  }

  async #try(delivery: DueDelivery, claimedMs: number): Promise<void> {
    if (!this.#claiming) {
      this.#unfinished.push(delivery);
      return;
    }
    const { delivery_id, run_id, seq, tries } = delivery;
    try {
      const events = await this.#store.readEvents(run_id, seq);
      const startedMs = performance.now();
      // This process was stopped meanwhile: the lease may end during the request, and another worker send it too.
      if (startedMs - claimedMs > SENDING_LEASE_MS - REQUEST_LIMIT_MS) return;
      const verdict = await post(delivery, events, this.#outside, this.#stop.signal);
      const took_ms = Math.round(performance.now() - startedMs);
      const state = await this.#save({ delivery_id, tries, ...verdict });
      const { status, error } = verdict;
      log.info("webhook.sent", {
        delivery: delivery_id,
        run: run_id,
        try: tries,
        state,
        status,
        took_ms,
        error,
      });
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
      this.#unfinished.push(delivery);
    }
  }

  async #save(result: TryResult): Promise<DeliveryState> {
    const state = await this.#savePatiently(result);
    if (state !== "lost") this.sent[state === "pending" ? "retried" : state] += 1;
    return state;
  }

  async #savePatiently(result: TryResult): Promise<DeliveryState> {
    for (const pauseMs of SAVE_PAUSES_MS) {
      try {
        return await this.#store.saveTry(result);
      } catch (error) {
        log.warn("webhook.outcome_delayed", { delivery: result.delivery_id, message: messageOf(error) });
        await sleep(pauseMs);
      }
    }
    return this.#store.saveTry(result);
  }

  async #giveBack(deliveries: readonly DueDelivery[]): Promise<void> {
    if (deliveries.length === 0) return;
    const claims = deliveries.map(({ delivery_id, tries }) => ({ delivery_id, tries }));
    await this.#store.releaseDeliveries(claims).catch((error: unknown) => {
      // Their leases lapse.
      log.warn("webhook.give_back_failed", { deliveries: claims.length, message: messageOf(error) });
    });
  }

  #logAway(error: unknown): void {
    if (!this.#isAway) log.warn("webhook.claim_failed", { message: messageOf(error) });
    this.#isAway = true;
  }
}

/** The same store, which says when a flush of this worker has left something to be sent. */
export function storeWithWakeup(store: StateStore, wake: () => void): StateStore {
  return {
    ...store,
    async flush(entries) {
      const committed = await store.flush(entries);
      if (committed.some(({ webhook }) => webhook)) wake();
      return committed;
    },
  };
}
