import { placeholdersOf } from "../../shared/contracts/definition/index.ts";
import type { Placeholder } from "../../shared/contracts/definition/index.ts";

/**
 * A template in its parts. `literals`: the texts before, between and after the placeholders, one more than these. `names`: those of
 * the placeholders. `distinct`: each name once, in the order of the names, with its first place and the number of its uses.
 */
export type ParsedTemplate = {
  template: string;
  literals: readonly string[];
  names: readonly string[];
  distinct: readonly { name: string; rootName: string; first: Placeholder; times: number }[];
};

/** The most templates of each kind that are kept, and the most characters and placeholders of one of them: together they take some MiB. */
const MAX_KEPT = 256;
const MAX_KEPT_CHARS = 4 * 1024;
const MAX_KEPT_PLACEHOLDERS = 32;

/** The parsed templates by their texts, those of loops apart: a worker renders the same few templates again and again. */
const kept = { inLoop: new Map<string, ParsedTemplate>(), elsewhere: new Map<string, ParsedTemplate>() };

/**
 * The parts of a template. Parsing took half of the time of a rendering, so the parts of short templates are kept; the oldest make
 * room for new ones.
 * @param inLoop false: `{item}` and `{index}` are plain text
 */
export function parseTemplate(template: string, { inLoop }: { inLoop: boolean }): ParsedTemplate {
  const known = inLoop ? kept.inLoop : kept.elsewhere;
  const found = known.get(template);
  if (found) return found;
  const parsed = parse(template, inLoop);
  if (template.length > MAX_KEPT_CHARS || parsed.names.length > MAX_KEPT_PLACEHOLDERS) return parsed;
  const oldest = known.keys().next();
  if (known.size >= MAX_KEPT && !oldest.done) known.delete(oldest.value);
  known.set(template, parsed);
  return parsed;
}

function parse(template: string, inLoop: boolean): ParsedTemplate {
  const placeholders = placeholdersOf(template, inLoop);
  const ends = [0, ...placeholders.map(({ to }) => to)];
  const uses = [...Map.groupBy(placeholders, nameOf)].toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    template,
    literals: ends.map((end, i) => template.slice(end, placeholders[i]?.from)),
    names: placeholders.map(nameOf),
    distinct: uses.flatMap(([name, [first, ...more]]) => {
      if (first === undefined) return [];
      const rootName = nameOf({ ...first, path: first.path.slice(0, 1) });
      return [{ name, rootName, first, times: 1 + more.length }];
    }),
  };
}

function nameOf({ of, path }: Pick<Placeholder, "of" | "path">): string {
  return [of, ...path].join(".");
}
