import { trackAt } from "../../shared/journal/track.ts";
import { valueOrFileAt } from "./run-state.ts";
import { itemsOf } from "./steps/loop.ts";
import type { Orchestration } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Fork, Track } from "../../shared/journal/track.ts";

/** The list of each fork with `for_each`: it is loaded once for all iterations. */
const listByFork = new WeakMap<Fork, Promise<Json[] | null>>();

/** What the steps of a track see besides state: the `index` of the innermost loop around it, and the `item` of the innermost one with `for_each`. */
export async function loopVariablesOf({
  definition,
  root,
  track,
  load,
}: {
  definition: Orchestration;
  root: Track;
  track: Track;
  load(value: Json): Promise<Json>;
}): Promise<JsonObject> {
  const found: JsonObject = {};
  for (let depth = track.place.length; depth > 0; depth--) {
    const above = trackAt(root, track.place.slice(0, depth - 1));
    const { fork } = above;
    const step = definition.steps.find(({ id }) => id === fork?.step);
    const index = track.place[depth - 1];
    if (fork === null || step?.type !== "loop" || index === undefined) continue;
    found["index"] ??= index;
    const loopVariables = () => loopVariablesOf({ definition, root, track: above, load });
    const item = (await listOf(fork, () => itemsOf(step, { state: above.state, load, loopVariables })))?.[
      index
    ];
    if (item !== undefined) return { ...found, item: (await valueOrFileAt(item, [], load)) ?? null };
  }
  return found;
}

function listOf(fork: Fork, read: () => Promise<Json[] | null>): Promise<Json[] | null> {
  const known = listByFork.get(fork);
  if (known !== undefined) return known;
  const list = read();
  listByFork.set(fork, list);
  // After a failure the next try loads the list again.
  list.catch(() => listByFork.delete(fork));
  return list;
}
