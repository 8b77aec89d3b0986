import type { Incarnation } from "../../shared/contracts/ids.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { Repairs } from "../reconciler/reconciler-deps.ts";
import type { OutcomeCounts } from "../webhooks/open-tries.ts";
import type { Counters } from "./counters.ts";

const PERIOD_MS = 10_000;

type ReportDeps = {
  owner: Incarnation;
  store: Pick<StateStore, "saveCounters">;
  counters: Counters;
  /** What the reconciler and the webhook sender count themselves. */
  repairs: Repairs;
  sent: OutcomeCounts;
};

/**
 * Saves what this worker has counted, every ten seconds and when it stops. A worker that is killed loses what it counted since its
 * last report; a report that fails is a part of the next one.
 */
export class CounterReports {
  readonly #deps: ReportDeps;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: ReportDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#report(), PERIOD_MS);
  }

  /** Resolves after the last report, whether it was saved or not. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#report();
  }

  async #report(): Promise<void> {
    const { owner, store, counters, repairs, sent } = this.#deps;
    for (const [kind, count] of Object.entries(repairs)) {
      if (count > 0) counters.set("synapse_repairs_total", { kind }, count);
    }
    for (const [outcome, count] of Object.entries(sent)) {
      if (count > 0) counters.set("synapse_webhook_deliveries_total", { outcome }, count);
    }
    const values = counters.list();
    if (values.length === 0) return;
    await store
      .saveCounters(owner, values)
      .catch((error: unknown) => log.warn("metrics.report_failed", { message: messageOf(error) }));
  }
}
