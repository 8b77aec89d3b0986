import { hostname } from "node:os";
import type { Config } from "../config.ts";
import type { WorkerReport } from "../fleet/heartbeat.ts";
import type { Slots } from "../fleet/slots.ts";
import { LoopLag } from "./loop-lag.ts";

/** This worker's own figures, for its beats and for `/health`. */
export class WorkerStatus {
  readonly #config: Config;
  readonly #slots: Slots;
  readonly #startedMs = performance.now();
  readonly loopLag = new LoopLag();
  readonly #lagSinceBeat = this.loopLag.reader();
  readonly #lagSinceHealth = this.loopLag.reader();
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
      loop_lag_ms: this.#lagSinceBeat(),
    };
  }

  forHealth() {
    return {
      worker_id: this.#config.workerId,
      active_jobs: this.#slots.active,
      max_jobs: this.#slots.openTotal,
      spare_jobs: this.#slots.total - this.#slots.openTotal,
      uptime: Math.round(performance.now() - this.#startedMs) / 1_000,
      loop_lag_ms: this.#lagSinceHealth(),
    };
  }
}
