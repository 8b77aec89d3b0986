import { isFork, writersOf } from "../../shared/contracts/definition/index.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Track } from "../../shared/journal/track.ts";

/**
 * The label of a key of state in a merge: the name and id of the step that writes it, or the key itself unless exactly one step does.
 * A key that the branches of a parallel step have written has a label for each branch; null: no step of that branch writes it.
 */
export function sourceOf(
  steps: readonly Step[],
  { merged }: Pick<Track, "merged">,
  key: string,
): string | (string | null)[] {
  const fork = steps.find(({ id }) => id === merged.get(key));
  if (fork !== undefined && isFork(fork)) {
    return writersOf(fork, key, steps).map((writer) => (writer === undefined ? null : labelOf(writer)));
  }
  const [writer, second] = steps.filter(({ output_key }) => output_key === key);
  return writer === undefined || second !== undefined ? key : labelOf(writer);
}

function labelOf({ id, name }: Step): string {
  return name === "" ? id : `${name} (${id})`;
}
