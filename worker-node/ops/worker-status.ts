import { hostname } from "node:os";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Config } from "../config.ts";
import type { WorkerReport } from "../fleet/heartbeat.ts";
import type { Slots } from "../fleet/slots.ts";

/** This worker's own figures, for its beats and for `/health`. */
export class WorkerStatus {
  readonly #config: Config;
  readonly #slots: Slots;
  readonly #startedMs = performance.now();
  /** In milliseconds, since the last call. */
  readonly loopLagMs = measureLoopLag();
  isDraining = false;

  constructor(config: Config, slots: Slots) {
    this.#config = config;
    this.#slots = slots;
  }

  forBeat(): WorkerReport {
    const { workerId, WORKER_HEALTH_PORT, WORKER_LANES } = this.#config;
    return {
      worker_id: workerId,
      hostname: hostname(),
      address: `http://${hostname()}:${WORKER_HEALTH_PORT}`,
      pid: process.pid,
      status: this.isDraining ? "draining" : "online",
      lanes: WORKER_LANES,
      slots: this.#slots.openTotal,
      active: this.#slots.active,
      loop_lag_ms: this.loopLagMs(),
    };
  }

  forHealth() {
    return {
      worker_id: this.#config.workerId,
      active_jobs: this.#slots.active,
      max_jobs: this.#slots.openTotal,
      spare_jobs: this.#slots.total - this.#slots.openTotal,
      uptime: Math.round(performance.now() - this.#startedMs) / 1_000,
      loop_lag_ms: this.loopLagMs(),
    };
  }
}

/**
 * @returns a function that reads the longest delay of the event loop since its last call, in milliseconds. It is short by
 * up to 100 ms.
 */
export function measureLoopLag(): () => number {
  // Each round wakes the process. At 20 ms these were nine of ten wake-ups of an idle worker.
  const resolutionMs = 100;
  const histogram = monitorEventLoopDelay({ resolution: resolutionMs });
  histogram.enable();
  return () => {
    const ms = Math.max(0, Math.round(histogram.max / 1e6) - resolutionMs);
    histogram.reset();
    return Number.isFinite(ms) ? ms : 0;
  };
}
