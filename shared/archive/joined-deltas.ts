import { z } from "zod";
import { ArchivedEntry } from "./archived-entry.ts";

// A model's text arrives in many small events, each of them a row of its own. In a segment, rows that follow each other and have only
// text of one step are one line: their texts joined, and what tells them apart in columns (docs/protocol.md 7.14).

/**
 * Rows of text deltas as one line of a block. `before`, `between` and `after` are what each event's line has before its text, between
 * text and `ts`, and after `ts`. For each row: `events_n`, and `at_us` as the difference to the row before. For each event: `chars`,
 * the length of its text, and `ts`, how many milliseconds its `ts` is before the row's time; null: a line without its end (5.33).
 */
export const JoinedDeltas = z.object({
  ...ArchivedEntry.pick({ attempt: true, step_path: true, visit: true }).shape,
  before: z.string(),
  between: z.string(),
  after: z.string(),
  /** The number of the event before the first one. */
  after_seq: z.number().int().nonnegative(),
  events_n: z.array(z.number().int().positive()),
  at_us: z.array(z.number().int()),
  chars: z.array(z.number().int().nonnegative()),
  ts: z.array(z.number().int().nullable()),
  text: z.string(),
});
export type JoinedDeltas = z.infer<typeof JoinedDeltas>;

type Piece = { text: string; ts: number | null };
/** What rows that are joined have in common. */
type Common = Pick<JoinedDeltas, "attempt" | "step_path" | "visit" | "before" | "between" | "after">;
type Deltas = { row: ArchivedEntry; common: Common; pieces: Piece[] };

/** The lines of a block for rows in the order of their numbers. `splitDeltas` gives the very same rows back. */
export function joinDeltas(rows: readonly ArchivedEntry[]): (ArchivedEntry | JoinedDeltas)[] {
  const lines: (ArchivedEntry | JoinedDeltas)[] = [];
  let open: Deltas[] = [];
  const close = (): void => {
    const [first] = open;
    if (first === undefined) return;
    lines.push(open.length === 1 ? first.row : joined(first, open));
    open = [];
  };
  for (const row of rows) {
    const deltas = deltasOf(row);
    const [first] = open;
    if (deltas === null || (first !== undefined && !isSame(first.common, deltas.common))) close();
    if (deltas === null) lines.push(row);
    else open.push(deltas);
  }
  close();
  return lines;
}

/** The rows of the lines of a block. */
export function splitDeltas(lines: readonly (ArchivedEntry | JoinedDeltas)[]): ArchivedEntry[] {
  return lines.flatMap((line) => ("chars" in line ? split(line) : [line]));
}

function joined({ row, common }: Deltas, all: readonly Deltas[]): JoinedDeltas {
  const pieces = all.flatMap((deltas) => deltas.pieces);
  return {
    ...common,
    after_seq: row.seq - row.events_n,
    events_n: all.map((deltas) => deltas.row.events_n),
    at_us: all.map((deltas, i) => deltas.row.at_us - (all[i - 1]?.row.at_us ?? 0)),
    chars: pieces.map(({ text }) => text.length),
    ts: pieces.map(({ ts }) => ts),
    text: pieces.map(({ text }) => text).join(""),
  };
}

function split(line: JoinedDeltas): ArchivedEntry[] {
  const { attempt, step_path, visit } = line;
  let [seq, at_us, piece, char] = [line.after_seq, 0, 0, 0];
  return line.events_n.map((events_n, i) => {
    seq += events_n;
    at_us += line.at_us[i] ?? 0;
    const pieces = line.chars.slice(piece, piece + events_n).map((chars, n): Piece => {
      char += chars;
      return { text: line.text.slice(char - chars, char), ts: line.ts[piece + n] ?? null };
    });
    piece += events_n;
    const events = linesOf(line, at_us, pieces);
    return { seq, events_n, attempt, kind: "note", step_path, visit, output: null, events, at_us };
  });
}

/** The event lines of a row. */
function linesOf({ before, between, after }: Common, at_us: number, pieces: readonly Piece[]): string {
  return pieces
    .map(({ text, ts }) => {
      const end = ts === null ? "," : `,"ts":"${new Date(msOf(at_us) - ts).toISOString()}"${after}`;
      return `${before}${JSON.stringify(text)}${between}${end}`;
    })
    .join("\n");
}

const msOf = (us: number): number => Math.floor(us / 1_000);

/** An event's line with a text of a model: before the text, the text, between it and `ts`, `ts`, after it. */
const COMPLETE = /^(\{"type":"llm_delta",.*?"text":)("(?:[^"\\]|\\.)*")(.*),"ts":"([^"]*)"(,.*\})$/;
/** The same without its end. */
const SHORT = /^(\{"type":"llm_delta",.*?"text":)("(?:[^"\\]|\\.)*")(.*),$/;

/** The deltas of a row that holds only text of one step; null: it is another row, or its lines are not written in the form of `linesOf`. */
function deltasOf(row: ArchivedEntry): Deltas | null {
  if (row.kind !== "note" || row.output !== null || !row.events.startsWith('{"type":"llm_delta"'))
    return null;
  const lines = row.events.split("\n").map((line) => COMPLETE.exec(line) ?? SHORT.exec(line));
  const [, before = "", , between = "", , after = ""] = lines.at(-1) ?? [];
  const { attempt, step_path, visit } = row;
  const common = { attempt, step_path, visit, before, between, after };
  const pieces = lines.map((line): Piece => {
    const [, , text = '""', , ts] = line ?? [];
    return {
      text: z.string().parse(JSON.parse(text)),
      ts: ts === undefined ? null : msOf(row.at_us) - Date.parse(ts),
    };
  });
  // Proves that nothing is lost: a row with another form of a number, an escape or a time is not joined.
  const isWhole =
    pieces.length === row.events_n && pieces.every(({ ts }) => ts === null || Number.isSafeInteger(ts));
  return isWhole && linesOf(common, row.at_us, pieces) === row.events ? { row, common, pieces } : null;
}

function isSame(a: Common, b: Common): boolean {
  return (
    a.attempt === b.attempt &&
    a.step_path === b.step_path &&
    a.visit === b.visit &&
    a.before === b.before &&
    a.between === b.between &&
    a.after === b.after
  );
}
