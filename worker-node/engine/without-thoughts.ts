import { jsonValuesIn } from "./json-values.ts";

/** The marks between which models write what they think before they answer. */
const MARK =
  /<(\/?)(think|thinking|thought|reasoning|seed:think)>|\[(\/?)(THINK|REASONING)\]|◁(\/?)(think)▷/gi;

type Mark = { from: number; to: number; closes: boolean; name: string };

/**
 * A model's text without what it thought aloud. A closing mark without an opening one ends a thought that began with the
 * text, because the prompt of some models ends with the opening mark. An opening mark without a closing one is text. Marks inside a JSON
 * value belong to that value.
 */
export function withoutThoughts(text: string): string {
  let kept = "";
  let keptTo = 0;
  let open: Mark | null = null;
  for (const mark of marksOutsideJson(text)) {
    if (!mark.closes) open ??= mark;
    else if (open === null || open.name === mark.name) {
      kept = open === null ? "" : kept + text.slice(keptTo, open.from);
      keptTo = mark.to;
      open = null;
    }
  }
  return kept + text.slice(keptTo);
}

function marksOutsideJson(text: string): Mark[] {
  const marks = [...text.matchAll(MARK)].map((match) => ({
    from: match.index,
    to: match.index + match[0].length,
    closes: [match[1], match[3], match[5]].includes("/"),
    name: (match[2] ?? match[4] ?? match[6] ?? "").toLowerCase(),
  }));
  if (marks.length === 0) return [];
  const values = jsonValuesIn(text);
  let next = 0;
  return marks.filter(({ from }) => {
    while ((values[next]?.to ?? Number.POSITIVE_INFINITY) <= from) next += 1;
    return from < (values[next]?.from ?? Number.POSITIVE_INFINITY);
  });
}
