/**
 * The text without white space and these marks at its beginning and its end. Linear: an expression such as `/[\s*]+$/` reads a run of
 * spaces inside of the text again from each of them, and a model may write megabytes.
 */
export function trimMarks(text: string, marks: { start: string; end: string }): string {
  let [from, to] = [0, text.length];
  while (from < to && isTrimmed(text.charAt(from), marks.start)) from += 1;
  while (from < to && isTrimmed(text.charAt(to - 1), marks.end)) to -= 1;
  return text.slice(from, to);
}

function isTrimmed(char: string, marks: string): boolean {
  return marks.includes(char) || char.trim() === "";
}
