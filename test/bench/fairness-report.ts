/** The floods, bounds and lines that both parts of `npm run bench:fairness` share. */
import { quantile } from "./stats.ts";

/** How many jobs the flooding tenant has. */
export const FLOOD = 100_000;
/** The most that the p99 of a quiet tenant's pickup may rise. */
export const MOST_RISE_MS = 50;

export function p99(samples: readonly number[]): number {
  return quantile(samples, 0.99);
}

export function report(what: string, samples: readonly number[]): void {
  console.log(`${what}: p50 ${quantile(samples, 0.5).toFixed(1)} ms, p99 ${p99(samples).toFixed(1)} ms`);
}

/** Prints a figure; the process fails at its end when the figure is above its bound. */
export function check(what: string, figure: number, most: number, unit: string): void {
  console.log(`${what}: ${figure.toFixed(3)} ${unit} (at most ${most})`);
  if (figure <= most) return;
  console.error(`broken: ${what} is ${figure.toFixed(3)}, and may be at most ${most}`);
  process.exitCode = 1;
}
