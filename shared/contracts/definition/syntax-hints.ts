/** The code at the place of a syntax error: what is before that place, and what is from it on. */
type Around = { before: string; rest: string };

/**
 * Forms that are syntax errors here and right in other languages, in modules or in functions, each with what to write in its place.
 * `program` and `expression`: that sentence for a program and for an expression; absent: the form is right in it.
 */
const HINTS: readonly { isAt(around: Around): boolean; program?: string; expression?: string }[] = [
  {
    isAt: ({ rest }) => /^return\b/.test(rest),
    program: "Set result instead, as in result = state.n + 1",
    expression: "Write the value alone, without return",
  },
  {
    isAt: ({ before }) => /\bawait\s{1,10}$/.test(before),
    program:
      "A program awaits inside of an async function only: write result = (async () => { … return value })()",
    expression: "An expression is awaited as it is: leave await out",
  },
  {
    isAt: ({ rest }) => /^(?:import|export)\b/.test(rest),
    program: "Code has no modules: it reads state and the built-ins of JavaScript",
  },
  {
    isAt: ({ before, rest }) => before.trim() === "" && /^if\b/.test(rest),
    expression: "Write the condition alone, without if",
  },
  { isAt: ({ rest }) => /^if\b/.test(rest), expression: "Write condition ? one : other" },
  { isAt: ({ before }) => before.endsWith("#"), expression: "A comment begins with //" },
];

const NEAR_CHARS = 20;

/** The hint for a syntax error at `offset`, with the space before it; empty: there is none. */
export function syntaxHint(
  code: string,
  offset: number,
  { isExpression }: { isExpression: boolean },
): string {
  const before = code.slice(Math.max(0, offset - NEAR_CHARS), offset);
  const rest = code.slice(offset, offset + NEAR_CHARS);
  const hint = HINTS.find(({ isAt }) => isAt({ before, rest }));
  const sentence = isExpression ? hint?.expression : hint?.program;
  return sentence === undefined ? "" : `. ${sentence}`;
}
