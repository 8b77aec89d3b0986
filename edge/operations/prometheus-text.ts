/** Writes metrics in the text format 0.0.4 of Prometheus. */
import { BUCKET, series } from "../../shared/metrics.ts";
import type { Labels, Series } from "../../shared/metrics.ts";
import type { CounterValue } from "../../shared/store/metrics/counters.ts";

export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** A metric whose value is read when it is requested. */
export type Gauge = {
  name: string;
  help: string;
  values: readonly { labels: Labels; value: number }[];
};

/**
 * The text of the gauges, and of all series of the fleet.
 * @param counters in the order in which they are shown
 */
export function prometheusText(gauges: readonly Gauge[], counters: readonly CounterValue[]): string {
  const lines = gauges.flatMap(({ name, help, values }) => [
    ...head(name, help, "gauge"),
    ...values.map(({ labels, value }) => sample(name, labels, value)),
  ]);
  const byName = Map.groupBy(counters, (counter) => counter.series);
  for (const [name, metric] of Object.entries<Series>(series))
    lines.push(...seriesLines(name, metric, byName));
  return `${lines.join("\n")}\n`;
}

function seriesLines(
  name: string,
  metric: Series,
  byName: ReadonlyMap<string, readonly CounterValue[]>,
): string[] {
  if (metric.type === "counter") {
    return [...head(name, metric.help, "counter"), ...samplesOf(name, byName.get(name) ?? [])];
  }
  const buckets = ascending(byName.get(`${name}_bucket`) ?? []);
  const ofAll = buckets.filter(({ labels }) => labels[BUCKET] === "+Inf");
  const counts = ofAll.map(({ labels, value }) => ({ labels: withoutBucket(labels), value }));
  return [
    ...head(name, metric.help, "histogram"),
    ...samplesOf(`${name}_bucket`, buckets),
    ...samplesOf(`${name}_sum`, byName.get(`${name}_sum`) ?? []),
    ...samplesOf(`${name}_count`, counts),
  ];
}

type Sample = { labels: Labels; value: number };

/** The buckets of each histogram by their bounds, as the format requires it. They are counted in any order. */
function ascending(buckets: readonly Sample[]): Sample[] {
  const histograms = Map.groupBy(buckets, ({ labels }) => JSON.stringify(withoutBucket(labels)));
  return Array.from(histograms.values()).flatMap((histogram) =>
    histogram.toSorted((a, b) => boundOf(a) - boundOf(b)),
  );
}

function boundOf({ labels }: Sample): number {
  return labels[BUCKET] === "+Inf" ? Infinity : Number(labels[BUCKET]);
}

function withoutBucket(labels: Labels): Labels {
  return Object.fromEntries(Object.entries(labels).filter(([label]) => label !== BUCKET));
}

function head(name: string, help: string, type: string): string[] {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
}

function samplesOf(name: string, samples: readonly Sample[]): string[] {
  return samples.map(({ labels, value }) => sample(name, labels, value));
}

function sample(name: string, labels: Labels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
