import { BUCKET, series } from "../../shared/metrics.ts";
import type { Count, CounterName, HistogramName, Labels } from "../../shared/metrics.ts";
import { MAX_VALUES } from "../../shared/store/metrics/counters.ts";
import type { CounterValue } from "../../shared/store/metrics/counters.ts";

/** Label values come from definitions too; Postgres and Prometheus take every printable ASCII character. */
const UNPRINTABLE = /[^\x20-\x7e]/g;
const MAX_LABEL_CHARS = 200;

/**
 * What one worker has counted since it started, in memory. `CounterReports` sends it. Names beyond `MAX_VALUES` are not counted:
 * the names of models come from definitions, and their number has no other bound here.
 */
export class Counters implements Count {
  readonly #values = new Map<string, CounterValue>();

  add(name: CounterName, labels: Labels, amount = 1): void {
    this.#add(name, labels, amount);
  }

  observe(name: HistogramName, labels: Labels, seconds: number): void {
    for (const bound of series[name].buckets) {
      // A bucket without an observation is a value of 0, so that every histogram has all its buckets.
      this.#add(`${name}_bucket`, { ...labels, [BUCKET]: String(bound) }, seconds <= bound ? 1 : 0);
    }
    this.#add(`${name}_bucket`, { ...labels, [BUCKET]: "+Inf" }, 1);
    this.#add(`${name}_sum`, labels, seconds);
  }

  /** A counter whose value another part of the worker keeps. */
  set(name: CounterName, labels: Labels, value: number): void {
    const known = this.#valueOf(name, labels);
    if (known) known.value = value;
  }

  list(): CounterValue[] {
    return [...this.#values.values()];
  }

  #add(name: string, labels: Labels, amount: number): void {
    const known = this.#valueOf(name, labels);
    if (known) known.value += amount;
  }

  #valueOf(name: string, labels: Labels): CounterValue | undefined {
    const printable = Object.entries(labels).map(([label, value]): [string, string] => [
      label,
      value.replaceAll(UNPRINTABLE, "?").slice(0, MAX_LABEL_CHARS),
    ]);
    const id = `${name} ${JSON.stringify(printable)}`;
    const known = this.#values.get(id);
    if (known || this.#values.size >= MAX_VALUES) return known;
    const value = { series: name, labels: Object.fromEntries(printable), value: 0 };
    this.#values.set(id, value);
    return value;
  }
}
