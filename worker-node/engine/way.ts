import { trackAt } from "../../shared/journal/track.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import type { Track } from "../../shared/journal/track.ts";

/**
 * The way of a run to a step. `from`: the step before it, of its own track, else of the track that its branch or iteration has begun in;
 * null: there is none. `said`: the evaluators and humans whose results are in the state of the step's track, in the order of their newest
 * results.
 */
export type Way = { from: Step | null; said: readonly Step[] };

/** The way to the next step of `track`, as far as it is in the history of the run's newest results. */
export function wayTo(steps: readonly Step[], root: Progress, track: Track): Way {
  const speakers = steps.filter(({ type }) => type === "evaluator" || type === "human");
  if (speakers.length === 0) return { from: null, said: [] };
  const isBeside = besides(root, track);
  const order = new Map<string, number>();
  for (const [i, { step, path }] of root.history.entries()) if (!isBeside(path)) order.set(step, i);
  const placeInOrder = ({ id }: Step): number => order.get(id) ?? 0;
  const last = lastStepOf(root, track);
  return {
    from: steps.find(({ id }) => id === last) ?? null,
    said: speakers.filter(({ id }) => order.has(id)).toSorted((a, b) => placeInOrder(a) - placeInOrder(b)),
  };
}

/**
 * Tells by its path whether a result is of a branch or an iteration beside `track`, whose state has nothing of it before they join. Rounds
 * are not beside each other: each has the state of the rounds before it.
 */
function besides(root: Track, { place }: Track): (path: string) => boolean {
  const around = place.flatMap((_, depth) => {
    if (trackAt(root, place.slice(0, depth)).fork?.in === "rounds") return [];
    const { path } = trackAt(root, place.slice(0, depth + 1));
    return [{ own: `${path}.`, all: path.slice(0, path.lastIndexOf("[") + 1) }];
  });
  return (path) => around.some(({ own, all }) => path.startsWith(all) && !path.startsWith(own));
}

function lastStepOf(root: Track, { place }: Track): string | null {
  for (let depth = place.length; depth >= 0; depth--) {
    const { last } = trackAt(root, place.slice(0, depth));
    if (last !== null) return last;
  }
  return null;
}
