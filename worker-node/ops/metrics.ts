import { Counter, Gauge, Registry } from "prom-client";
import type { Metric } from "prom-client";
import type { StateStore } from "../../shared/store/state.ts";
import type { Repairs } from "../reconciler/parts.ts";
import type { OutcomeCounts } from "../webhooks/open-tries.ts";

/**
 * What a worker tells Prometheus. `synapse_runs_without_wakeup` is the one to alert on: it is 0, or a promise is
 * broken. It counts the fleet's runs, so any worker answers the same.
 */
export function createMetrics(parts: {
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
      help: "Runs that have not ended and that nothing will touch again: overdue, abandoned or forgotten for a minute",
      registers: [],
      async collect() {
        this.set((await parts.store.countWithoutWakeup()) + parts.lateRuns());
      },
    }),
    new Gauge({
      name: "synapse_active_jobs",
      help: "Runs that this worker executes",
      registers: [],
      collect() {
        this.set(parts.active());
      },
    }),
    new Gauge({
      name: "synapse_slots",
      help: "Runs that this worker may execute at once",
      registers: [],
      collect() {
        this.set(parts.slots);
      },
    }),
    new Gauge({
      name: "synapse_event_loop_lag_seconds",
      help: "The longest time that this worker's event loop was kept from its work since the last scrape",
      registers: [],
      collect() {
        this.set(parts.loopLagMs() / 1_000);
      },
    }),
    new Counter({
      name: "synapse_repairs_total",
      help: "Repairs by this worker's reconciler, by what was wrong (docs/protocol.md 7)",
      labelNames: ["kind"],
      registers: [],
      collect() {
        this.reset();
        for (const [kind, count] of Object.entries(parts.repairs)) this.inc({ kind }, count);
      },
    }),
    new Gauge({
      name: "synapse_webhook_deliveries",
      help: "Webhooks of the fleet that are due, and those of them that have been for a minute (overdue)",
      labelNames: ["state"],
      registers: [],
      async collect() {
        for (const [state, count] of Object.entries(await parts.store.countDueDeliveries()))
          this.set({ state }, count);
      },
    }),
    new Counter({
      name: "synapse_webhook_deliveries_total",
      help: "Webhooks that this worker sent, by what became of it",
      labelNames: ["outcome"],
      registers: [],
      collect() {
        this.reset();
        for (const [outcome, count] of Object.entries(parts.sent)) this.inc({ outcome }, count);
      },
    }),
  ];
  const registry = new Registry();
  for (const metric of metrics) registry.registerMetric(metric);
  return { text: () => registry.metrics(), contentType: registry.contentType };
}
