import { trackAt } from "../../shared/journal/track.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import type { Track } from "../../shared/journal/track.ts";

/**
 * The way of a run to a step. `from`: the step before it, of its own track, else of the track that its branch or iteration has begun in;
 * null: there is none. `done`: the steps that have a result, in the order of their newest results.
 */
export type Way = { from: Step | null; done: readonly Step[] };

/** The way to the next step of `track`, as far as it is in the history of the run's newest results. */
export function wayTo(steps: readonly Step[], root: Progress, track: Track): Way {
  const order = new Map(root.history.map(({ step }, i) => [step, i]));
  const placeInOrder = ({ id }: Step): number => order.get(id) ?? 0;
  const last = lastStepOf(root, track);
  return {
    from: steps.find(({ id }) => id === last) ?? null,
    done: steps.filter(({ id }) => order.has(id)).toSorted((a, b) => placeInOrder(a) - placeInOrder(b)),
  };
}

function lastStepOf(root: Track, { place }: Track): string | null {
  for (let depth = place.length; depth >= 0; depth--) {
    const { last } = trackAt(root, place.slice(0, depth));
    if (last !== null) return last;
  }
  return null;
}
