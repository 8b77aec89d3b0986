import { quantile } from "../stats.ts";
import { FIGURES } from "./workloads.ts";
import type { Figure, Figures } from "./workloads.ts";

/** A column: a participant with the figures of its rounds. */
export type Column = { title: string; rounds: readonly Figures[] };

/** The table in Markdown: the median of the rounds, and in brackets the lowest and the highest. */
export function tableOf(columns: readonly Column[]): string {
  const lines = [
    ["", ...columns.map(({ title }) => title)],
    ["---", ...columns.map(() => "--:")],
    ...names().map((figure) => [
      FIGURES[figure],
      ...columns.map(({ rounds }) => cellOf(rounds.map((round) => round[figure]))),
    ]),
  ];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** How much the figures of one participant differ between rounds: the range of a figure as a part of its median. */
export function noiseText(rounds: readonly Figures[]): string {
  if (rounds.length < 2) return "The machine's noise: unknown after one round";
  const spreads = names().map((figure) => {
    const values = rounds.map((round) => round[figure]);
    return { figure, share: (Math.max(...values) - Math.min(...values)) / quantile(values, 0.5) };
  });
  const largest = spreads.toSorted((a, b) => b.share - a.share)[0];
  const median = quantile(
    spreads.map(({ share }) => share),
    0.5,
  );
  return (
    `The machine's noise: between ${rounds.length} rounds a figure of the floor spreads by ${percent(median)} of its median, ` +
    `at most ${percent(largest?.share ?? NaN)} (${largest ? FIGURES[largest.figure] : ""})`
  );
}

function names(): Figure[] {
  const isFigure = (name: string): name is Figure => Object.hasOwn(FIGURES, name);
  return Object.keys(FIGURES).filter(isFigure);
}

function cellOf(rounds: readonly number[]): string {
  const finite = rounds.filter(Number.isFinite);
  if (finite.length === 0) return "–";
  const median = shown(quantile(finite, 0.5));
  return finite.length === 1
    ? median
    : `${median} (${shown(Math.min(...finite))}–${shown(Math.max(...finite))})`;
}

function shown(figure: number): string {
  return figure.toLocaleString("en-US", { maximumFractionDigits: figure < 100 ? 1 : 0 });
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
