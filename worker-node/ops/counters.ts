import { BUCKET, series } from "../../shared/metrics.ts";
import type { Count, CounterName, HistogramName, Labels } from "../../shared/metrics.ts";
import { MAX_VALUES } from "../../shared/store/metrics/counters.ts";
import type { CounterValue } from "../../shared/store/metrics/counters.ts";

/** Label values come from definitions too; Postgres and Prometheus take every printable ASCII character. */
const UNPRINTABLE = /[^\x20-\x7e]/g;
const MAX_LABEL_CHARS = 200;

/** A counter. */
type Counted = { labels: Labels; value: number };
/** A histogram: `upTo` has the number of observations up to each of its bounds, and above the last. */
type Observed = { labels: Labels; bounds: readonly number[]; upTo: number[]; sum: number };

/**
 * What one worker has counted since it started, in memory. `CounterReports` sends it. Names beyond the bounds below are not
 * counted: the names of models come from definitions, and their number has no other bound here.
 */
export class Counters implements Count {
  readonly #counters = new Map<string, Counted>();
  readonly #histograms = new Map<string, Observed>();

  add(name: CounterName, labels: Labels, amount = 1): void {
    const counter = this.#counterOf(name, labels);
    if (counter) counter.value += amount;
  }

  /** A counter whose value another part of the worker keeps. */
  set(name: CounterName, labels: Labels, value: number): void {
    const counter = this.#counterOf(name, labels);
    if (counter) counter.value = value;
  }

  observe(name: HistogramName, labels: Labels, seconds: number): void {
    const id = idOf(name, labels);
    let histogram = this.#histograms.get(id);
    if (!histogram) {
      const bounds = series[name].buckets;
      if (this.#histograms.size >= MAX_HISTOGRAMS) return;
      histogram = { labels, bounds, upTo: Array.from({ length: bounds.length + 1 }, () => 0), sum: 0 };
      this.#histograms.set(id, histogram);
    }
    const fits = histogram.bounds.findIndex((bound) => seconds <= bound);
    const bucket = fits < 0 ? histogram.bounds.length : fits;
    histogram.upTo[bucket] = (histogram.upTo[bucket] ?? 0) + 1;
    histogram.sum += seconds;
  }

  list(): CounterValue[] {
    return [
      ...Array.from(this.#counters, ([id, { labels, value }]) => valueOf(seriesOf(id), labels, value)),
      ...Array.from(this.#histograms).flatMap(([id, histogram]) => valuesOf(seriesOf(id), histogram)),
    ];
  }

  #counterOf(name: CounterName, labels: Labels): Counted | undefined {
    const id = idOf(name, labels);
    const known = this.#counters.get(id);
    if (known || this.#counters.size >= MAX_COUNTERS) return known;
    const counter = { labels, value: 0 };
    this.#counters.set(id, counter);
    return counter;
  }
}

/** A histogram has a dozen values at most. */
const MAX_HISTOGRAMS = MAX_VALUES / 20;
const MAX_COUNTERS = MAX_VALUES / 4;

const SEPARATOR = "\n";

function idOf(name: string, labels: Labels): string {
  let id = name;
  for (const label in labels) id += SEPARATOR + labels[label];
  return id;
}

function seriesOf(id: string): string {
  const end = id.indexOf(SEPARATOR);
  return end < 0 ? id : id.slice(0, end);
}

/** The values of a histogram: of each bucket the observations up to its bound, and their sum. */
function valuesOf(name: string, { labels, bounds, upTo, sum }: Observed): CounterValue[] {
  let below = 0;
  const buckets = [...bounds.map(String), "+Inf"].map((bound, i) => {
    below += upTo[i] ?? 0;
    return valueOf(`${name}_bucket`, { ...labels, [BUCKET]: bound }, below);
  });
  return [...buckets, valueOf(`${name}_sum`, labels, sum)];
}

function valueOf(name: string, labels: Labels, value: number): CounterValue {
  const printable = Object.entries(labels).map(([label, text]): [string, string] => [
    label,
    text.replaceAll(UNPRINTABLE, "?").slice(0, MAX_LABEL_CHARS),
  ]);
  return { series: name, labels: Object.fromEntries(printable), value };
}
