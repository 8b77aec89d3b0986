/** Longer names are not compared, on either side, so that a long name costs no time. */
const MAX_CHARS = 60;

/** Further names are not compared: a definition may set 20,000 keys of state, and its code may define 30,000 names. */
const MAX_NAMES = 500;

/**
 * The one of `names` that is spelled most like `written`, with its edit distance: letter case, `_`, `-` and spaces do not matter.
 * Null: none of the first 500 names has at most 60 characters, or `written` has more.
 */
export function nearestName(
  written: string,
  names: Iterable<string>,
): { name: string; distance: number } | null {
  if (written.length > MAX_CHARS) return null;
  const letters = lettersOf(written);
  let nearest: { name: string; distance: number } | null = null;
  let compared = 0;
  for (const name of names) {
    if (compared === MAX_NAMES) break;
    compared += 1;
    if (name.length > MAX_CHARS) continue;
    const distance = editDistance(letters, lettersOf(name));
    if (nearest === null || distance < nearest.distance) nearest = { name, distance };
  }
  return nearest;
}

/** A name that differs in more than this share of its letters is no misspelling. */
const MAX_SHARE = 0.35;

/**
 * The known name of which `written` is a misspelling, the beginning (`tenant` of `tenant_id`) or, where no other one ends so, the end
 * (`url` of `webhook_url`); null: none is near enough.
 */
export function likelyName(written: string, known: readonly string[]): string | null {
  const nearest = nearestName(written, known);
  if (nearest === null || nearest.distance === 0) return nearest?.name ?? null;
  const extended = known.find((name) => name.startsWith(`${written}_`) || written.startsWith(`${name}_`));
  if (extended !== undefined) return extended;
  // Names that have no letter in common are never near, however short they are.
  const isAlike = nearest.distance < Math.max(written.length, nearest.name.length);
  if (isAlike && nearest.distance <= Math.max(1, nearest.name.length * MAX_SHARE)) return nearest.name;
  const [only, ...others] = known.filter((name) => name.endsWith(`_${written}`));
  return others.length === 0 ? (only ?? null) : null;
}

/** Makes the end of an error text, `: did you mean "…"?`, or nothing when no known name is near. */
export type Suggest = (written: string, known: Iterable<string>) => string;

/** Suggestions for the first `times` names: a definition may have ten thousand wrong ones, and each is compared with all. */
export function suggestions(times = 8): Suggest {
  let left = times;
  return (written, known) => {
    left -= 1;
    const nearest = left < 0 ? null : likelyName(written, [...known]);
    return nearest === null ? "" : `: did you mean "${nearest}"?`;
  };
}

function lettersOf(name: string): string {
  return name.toLowerCase().replaceAll(/[\s_-]/g, "");
}

/** Insertions, deletions, replacements and swaps of neighbours (optimal string alignment distance). */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, (before[j - 2] ?? 0) + 1);
      }
      row.push(least);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length] ?? a.length;
}
