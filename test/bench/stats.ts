/** The value below which `share` of the samples lie. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

/**
 * A line of the table. `range`: the lowest and the highest of several rounds, of which `figure` is the middle one. `mark`: the
 * target. `most`: a bound; the bench fails when the figure is above it.
 */
export type Row = {
  what: string;
  figure: number;
  unit: string;
  range?: [number, number];
  mark?: string;
  most?: number;
};

/** p50 and p99 of samples in milliseconds, as rows of the table. */
export function latencyRows(what: string, samplesMs: readonly number[], mark?: string): Row[] {
  return [
    { what: `${what}, p50`, figure: quantile(samplesMs, 0.5), unit: "ms", ...(mark && { mark }) },
    { what: `${what}, p99`, figure: quantile(samplesMs, 0.99), unit: "ms" },
  ];
}

/** A figure that was measured in several rounds, as a row of the table. */
export function roundsRow(what: string, rounds: readonly number[], unit: string, mark?: string): Row {
  return {
    what,
    figure: quantile(rounds, 0.5),
    unit,
    range: [Math.min(...rounds), Math.max(...rounds)],
    ...(mark && { mark }),
  };
}

/** Times `work` `times` times, one after another. @returns milliseconds each */
export async function timed(times: number, work: (i: number) => Promise<unknown>): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < times; i++) {
    const startedMs = performance.now();
    await work(i);
    samples.push(performance.now() - startedMs);
  }
  return samples;
}
