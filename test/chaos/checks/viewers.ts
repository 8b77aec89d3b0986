/** Viewers receive the journal, byte for byte, whenever they join and however often they lose their connection. */
import { linesOf } from "../../../shared/events/lines.ts";
import type { Evidence, JournalRow, Viewing } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/** docs/protocol.md 8.3 and 14.7. */
export function viewersReceiveTheJournal({ viewings, journal, runs }: Evidence): Violation[] {
  const byRun = Map.groupBy(journal, ({ run_id }) => run_id);
  const known = new Map(runs.map((run) => [run.run_id, run.event_seq]));
  return viewings.flatMap((viewer) => {
    const frames = framesOf(viewer.run, byRun.get(viewer.run) ?? []);
    const difference = compare(viewer, frames);
    if (difference)
      return [broken("viewers receive the journal", `${viewer.viewer}: ${difference}`, viewer.run)];
    if (viewer.viewer !== "final") return [];
    const missing = (known.get(viewer.run) ?? 0) - viewer.frames.length;
    if (viewer.complete && missing === 0) return [];
    return [broken("viewers receive the journal", `the last viewer lacks ${missing} events`, viewer.run)];
  });
}

function compare({ frames, complete }: Viewing, journal: Viewing["frames"]): string | null {
  for (const [i, frame] of frames.entries()) {
    const stored = journal[i];
    if (frame.id !== stored?.id)
      return `event ${i + 1} has the id ${frame.id}, the journal has ${stored?.id ?? "none"}`;
    if (frame.data !== stored.data) return `event ${i + 1} is ${frame.data}, the journal has ${stored.data}`;
  }
  const ended = journal[frames.length - 1]?.data.includes('"type":"done"') ?? false;
  return complete && !ended ? `its stream ended after event ${frames.length}` : null;
}

/** The expected frames, not computed by the product's own function, which is under test. */
function framesOf(run: string, entries: JournalRow[]): Viewing["frames"] {
  const base = run.slice(-13);
  return entries
    .flatMap(({ events }) => linesOf(events))
    .map((line, i) => ({
      id: `${base}-${i + 1}`,
      data: `{"run_id":"${run}","seq":${i + 1},${line.slice(1)}`,
    }));
}

/** docs/protocol.md 14.7: no frame before its entry was committed. */
export function noFrameComesBeforeItsCommit({ framesTooEarly }: Evidence): Violation[] {
  return framesTooEarly.map(({ run, seq, committed }) =>
    broken(
      "no event is published before its commit",
      `event ${seq} was received when ${committed} were committed`,
      run,
    ),
  );
}
