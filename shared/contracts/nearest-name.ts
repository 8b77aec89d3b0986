/** Names that differ in more than this share of their letters are no misspellings of each other. */
const MAX_SHARE = 0.5;
/** No name is longer; a longer one is a misspelling of none. */
const MAX_CHARS = 64;

/** The known name that an unknown one was probably meant to be; null: none is near. */
export function nearestName(name: string, known: readonly string[]): string | null {
  if (name.length > MAX_CHARS) return null;
  const part = known.find(
    (candidate) => candidate.startsWith(`${name}_`) || name.startsWith(`${candidate}_`),
  );
  const [nearest] = known
    .map((candidate) => ({ candidate, distance: distanceOf(plain(name), plain(candidate)) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, candidate.length * MAX_SHARE * 0.7))
    .toSorted((a, b) => a.distance - b.distance);
  return nearest?.distance === 0 ? nearest.candidate : (part ?? nearest?.candidate ?? null);
}

/** `tenantId`, `tenant-id` and `Tenant_ID` are the same name in other styles. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
}

/** The letters to change, insert or delete (Levenshtein). */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 0; i < a.length; i++) {
    const above = row;
    row = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const changed = (above[j] ?? 0) + (a[i] === b[j] ? 0 : 1);
      row.push(Math.min(changed, (above[j + 1] ?? 0) + 1, (row[j] ?? 0) + 1));
    }
  }
  return row[b.length] ?? 0;
}
