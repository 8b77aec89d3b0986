/**
 * The first word of a statement in lower case, after white space, semicolons, brackets and comments, which PostgreSQL nests. Empty: the
 * statement begins with something else. Null: nothing is left of it.
 */
export function firstWord(sql: string): string | null {
  let at = 0;
  for (;;) {
    const skipped = /[\s;(]*(?:--[^\r\n]*)?/y;
    skipped.lastIndex = at;
    skipped.exec(sql);
    const isComment = sql.startsWith("/*", skipped.lastIndex);
    if (!isComment && skipped.lastIndex === at) break;
    at = isComment ? endOfComment(sql, skipped.lastIndex) : skipped.lastIndex;
  }
  if (at >= sql.length) return null;
  const word = /[a-z]*/iy;
  word.lastIndex = at;
  return (word.exec(sql)?.[0] ?? "").toLowerCase();
}

/** Where the comment ends that begins here; the end of the text when it is not closed. */
function endOfComment(sql: string, from: number): number {
  const marks = /\/\*|\*\//g;
  marks.lastIndex = from;
  let depth = 0;
  for (let mark = marks.exec(sql); mark !== null; mark = marks.exec(sql)) {
    depth += mark[0] === "/*" ? 1 : -1;
    if (depth === 0) return marks.lastIndex;
  }
  return sql.length;
}
