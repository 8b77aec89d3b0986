import { Counter, Gauge, Registry } from "prom-client";
import type { Metric } from "prom-client";
import type { StateStore } from "../../shared/store/state.ts";
import type { Repairs } from "../reconciler/reconciler-deps.ts";
import type { OutcomeCounts } from "../webhooks/open-tries.ts";

/**
 * The metrics of a worker, for Prometheus. Alert on `synapse_runs_without_wakeup`: it is 0 unless a promise is broken. It
 * counts the runs of the fleet, so every worker reports the same number.
 */
export function createMetrics(sources: {
  store: StateStore;
  repairs: Repairs;
  sent: OutcomeCounts;
  lateRuns: () => number;
  active: () => number;
  slots: number;
  loopLagMs: () => number;
}): { text(): Promise<string>; contentType: string } {
  const metrics: Metric[] = [
    new Gauge({
      name: "synapse_runs_without_wakeup",
      help: "Runs that have not ended and that nothing will move again: overdue, without an owner or not enqueued for a minute",
      registers: [],
      async collect() {
        this.set((await sources.store.countWithoutWakeup()) + sources.lateRuns());
      },
    }),
    new Gauge({
      name: "synapse_active_jobs",
      help: "Runs that this worker executes",
      registers: [],
      collect() {
        this.set(sources.active());
      },
    }),
    new Gauge({
      name: "synapse_slots",
      help: "Runs that this worker may execute at once",
      registers: [],
      collect() {
        this.set(sources.slots);
      },
    }),
    new Gauge({
      name: "synapse_event_loop_lag_seconds",
      help: "The longest delay of this worker's event loop since the last scrape",
      registers: [],
      collect() {
        this.set(sources.loopLagMs() / 1_000);
      },
    }),
    new Counter({
      name: "synapse_repairs_total",
      help: "Repairs by this worker's reconciler, by kind of fault (docs/protocol.md 7)",
      labelNames: ["kind"],
      registers: [],
      collect() {
        this.reset();
        for (const [kind, count] of Object.entries(sources.repairs)) this.inc({ kind }, count);
      },
    }),
    new Gauge({
      name: "synapse_webhook_deliveries",
      help: "Webhook deliveries of the fleet that are due, and those of them that have been due for a minute (overdue)",
      labelNames: ["state"],
      registers: [],
      async collect() {
        for (const [state, count] of Object.entries(await sources.store.countDueDeliveries()))
          this.set({ state }, count);
      },
    }),
    new Counter({
      name: "synapse_webhook_deliveries_total",
      help: "Webhook requests that this worker sent, by outcome",
      labelNames: ["outcome"],
      registers: [],
      collect() {
        this.reset();
        for (const [outcome, count] of Object.entries(sources.sent)) this.inc({ outcome }, count);
      },
    }),
  ];
  const registry = new Registry();
  for (const metric of metrics) registry.registerMetric(metric);
  return { text: () => registry.metrics(), contentType: registry.contentType };
}
