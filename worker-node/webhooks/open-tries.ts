import { setTimeout as sleep } from "node:timers/promises";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import { archivedEvents } from "../../shared/archive/read-archive.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { WEBHOOK_LEASE_MS, WEBHOOK_REQUEST_MS } from "../../shared/timing.ts";
import type { BusyReceiver, DueDelivery } from "../../shared/store/webhooks/claim-deliveries.ts";
import type { DeliveryState, TryResult } from "../../shared/store/webhooks/delivery-outcomes.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { Stop } from "../execution/stop.ts";
import { saveOutcome } from "../outbound/save-outcome.ts";
import { postDelivery } from "./post-delivery.ts";
import type { WebhookDeps } from "./post-delivery.ts";

/** How long an aborted request may take to end. */
const ABORT_GRACE_MS = 2_000;

/** Outcomes of tries since this process started. */
export type OutcomeCounts = Record<"delivered" | "rejected" | "expired" | "retried", number>;

type OpenTry = { delivery: DueDelivery; done: Promise<void> };

/** The tries of claimed deliveries that this worker is making: reads the events, posts, writes the outcome. */
export class OpenTries {
  readonly #store: StateStore;
  readonly #deps: WebhookDeps;
  readonly #counts: OutcomeCounts;
  readonly #onEnd: () => void;
  readonly #open = new Map<string, OpenTry>();
  readonly #interrupted: DueDelivery[] = [];
  readonly #stop = new AbortController();

  /** @param onEnd called after each try */
  constructor(store: StateStore, deps: WebhookDeps, counts: OutcomeCounts, onEnd: () => void) {
    this.#store = store;
    this.#deps = deps;
    this.#counts = counts;
    this.#onEnd = onEnd;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Begins a try. `claimedMs`: a time before the claim, by `performance.now()`. */
  begin(delivery: DueDelivery, claimedMs: number): void {
    // The delivery's id is not enough: while an outcome cannot be written the lease may lapse, and this worker may
    // begin the next try of the same delivery.
    const key = `${delivery.delivery_id} ${delivery.tries}`;
    const done = this.#try(delivery, claimedMs)
      .catch((error: unknown) => {
        log.error("webhook.failed", {
          delivery: delivery.delivery_id,
          ...aboutRun(delivery),
          message: messageOf(error),
        });
      })
      .finally(() => {
        this.#open.delete(key);
        this.#onEnd();
      });
    this.#open.set(key, { delivery, done });
  }

  /** The receivers of the open tries, each with their number. */
  busyReceivers(): BusyReceiver[] {
    const open = Array.from(this.#open.values(), ({ delivery: { tenant_id, host } }) => ({
      tenant_id,
      host,
    }));
    const byReceiver = Map.groupBy(open, ({ tenant_id, host }) => `${tenant_id} ${host}`);
    return [...byReceiver.values()].flatMap((tries) => (tries[0] ? [{ ...tries[0], n: tries.length }] : []));
  }

  /** Waits `graceMs` for the open tries, then aborts them. @returns the deliveries that have no outcome */
  async drain(graceMs: number): Promise<readonly DueDelivery[]> {
    await Promise.race([this.#allDone(), sleep(graceMs)]);
    this.#stop.abort(new Stop("drain", "the worker is shutting down"));
    await Promise.race([this.#allDone(), sleep(ABORT_GRACE_MS)]);
    return this.#interrupted;
  }

  async #allDone(): Promise<void> {
    await Promise.all(Array.from(this.#open.values(), ({ done }) => done));
  }

  async #try(delivery: DueDelivery, claimedMs: number): Promise<void> {
    const { delivery_id, run_id, seq, tries } = delivery;
    try {
      const events = (await this.#store.readEvents(run_id, seq)) ?? (await this.#archivedEvents(run_id, seq));
      const startedMs = performance.now();
      // This process was suspended after the claim: the lease may lapse during the request, and another worker may send
      // the same delivery.
      if (startedMs - claimedMs > WEBHOOK_LEASE_MS - WEBHOOK_REQUEST_MS) return;
      const verdict = await postDelivery(delivery, events, this.#deps, this.#stop.signal);
      const took_ms = Math.round(performance.now() - startedMs);
      const state = await this.#save({ delivery_id, tries, ...verdict });
      const { status, error } = verdict;
      log.info("webhook.sent", {
        delivery: delivery_id,
        ...aboutRun(delivery),
        try: tries,
        state,
        status,
        took_ms,
        error,
      });
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
      this.#interrupted.push(delivery);
    }
  }

  /** The events of an entry that is not in Postgres: a delivery that is sent again may be older than its run's journal there. */
  async #archivedEvents(run: RunId, seq: number): Promise<string | null> {
    const place = await this.#store.readArchivePlace(run);
    return place === null ? null : archivedEvents(this.#deps.readArchive, place, seq);
  }

  async #save(result: TryResult): Promise<DeliveryState> {
    // Without a written outcome the lease lapses, and the delivery is sent again.
    const state = await saveOutcome(
      () => this.#store.saveDeliveryTry(result),
      (error) =>
        log.warn("webhook.outcome_delayed", { delivery: result.delivery_id, message: messageOf(error) }),
    );
    if (state !== "superseded") this.#counts[state === "pending" ? "retried" : state] += 1;
    return state;
  }
}
