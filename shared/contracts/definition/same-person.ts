/**
 * What stands for a person in comparisons: names that differ in letter case, in spaces or in the form of a letter only name one person,
 * and one person has one vote.
 */
export function personKey(name: string): string {
  return name.normalize("NFKC").trim().replaceAll(/\s+/g, " ").toLowerCase();
}
