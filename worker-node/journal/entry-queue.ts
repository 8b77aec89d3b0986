import { joinLines } from "../../shared/events/lines.ts";
import type { LineFormat } from "../../shared/events/lines.ts";
import type { EarlierResult, EntryContent } from "../../shared/store/journal/new-entry.ts";
import type { Stop } from "../execution/stop.ts";

/** The most results that are committed in the statement of a later entry of their run, and the bytes after which none is added. */
const MAX_EARLIER = 64;
const MAX_EARLIER_BYTES = 256 * 1024;

/**
 * The result of one entry's flush. `fenced`: another worker moves the run, so this one stops and writes nothing more.
 * `refused`: a park that missed a signal; the execution decides again. `rejected`: Postgres will never take the entry.
 */
export type Outcome =
  | { is: "committed"; signals: number; cancel: boolean }
  | { is: "fenced" }
  | { is: "refused"; signals: number; cancel: boolean }
  | { is: "rejected"; message: string };

/** What an append resolves to. The append of a fenced entry rejects with a Stop instead. */
export type AppendOutcome = Exclude<Outcome, { is: "fenced" }>;

/**
 * An appended entry. `pending`: the lines of events that were pending when it was appended; they stand before its own.
 * `isAlone`: Postgres rejected it together with others, so it is tried alone.
 */
export type Appended = {
  content: EntryContent;
  isAlone: boolean;
  pending: string[];
  lines: string[];
  resolve(outcome: AppendOutcome): void;
  reject(stop: Stop): void;
};

/**
 * The appended entries of one run that no flush carries yet, in their order. There may be several: steps without effects
 * append results without waiting for their outcomes, and a stopped execution appends the end of its run after them.
 */
export class EntryQueue {
  readonly #entries: Appended[] = [];

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  push(entry: Appended): void {
    this.#entries.push(entry);
  }

  /** Removes the next entry, after the results before it that can be committed in the same statement. */
  take(): Appended[] {
    const taken: Appended[] = [];
    let bytes = 0;
    for (let next = this.#entries.shift(); next; next = this.#entries.shift()) {
      taken.push(next);
      bytes += bytesOf(next);
      const [following] = this.#entries;
      const goesOn = following && goesBefore(next, following);
      if (!goesOn || taken.length > MAX_EARLIER || bytes > MAX_EARLIER_BYTES) break;
    }
    return taken;
  }

  /** Puts entries back that were taken and not committed: they are the next ones again. */
  putBack(entries: readonly Appended[]): void {
    this.#entries.unshift(...entries);
  }

  /** Removes all results, and an end that carries a result. Other entries stay. */
  takeResults(): Appended[] {
    const all = this.#entries.splice(0);
    this.#entries.push(...all.filter((entry) => !holdsResult(entry)));
    return all.filter(holdsResult);
  }
}

function holdsResult({ content }: Appended): boolean {
  const { kind } = content;
  return kind === "step" || kind === "turn" || (kind === "end" && content.step_path !== null);
}

/** Whether an entry can be committed in the statement of the entry that follows it: a result that charges nothing and has no files. */
function goesBefore({ content, isAlone }: Appended, following: Appended): boolean {
  const isEarlier =
    content.kind === "step" && content.usage.length === 0 && !content.artifacts?.length && !isAlone;
  const { kind } = following.content;
  return isEarlier && !following.isAlone && (kind === "step" || kind === "end");
}

function bytesOf({ content, pending, lines }: Appended): number {
  const output = content.kind === "note" ? 0 : content.output.length;
  return [...pending, ...lines].reduce((sum, line) => sum + line.length, output);
}

/** Entries as the earlier results of the entry that they are committed with. */
export function earlierResults(appended: readonly Appended[], lines: LineFormat): EarlierResult[] {
  return appended.flatMap((each) => {
    if (each.content.kind !== "step") return [];
    const { kind, step_path, visit, output } = each.content;
    return [{ kind, step_path, visit, output, ...storedLines(each, lines) }];
  });
}

/** The event lines of an entry as it is stored. */
export function storedLines({ pending, lines }: Pick<Appended, "pending" | "lines">, format: LineFormat) {
  const all = [...pending, ...lines];
  return { events: joinLines(all, format), events_n: all.length };
}
