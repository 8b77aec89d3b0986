import { invalidFields } from "./problem.ts";

type Times = { since?: string | undefined; until?: string | undefined };

/** The bounds of a request as times; null: open. @throws AppError `invalid` that names both, when `until` is before `since` */
export function timeRangeOf({ since, until }: Times): { since: Date | null; until: Date | null } {
  const [first, last] = [timeOf(since), timeOf(until)];
  if (first !== null && last !== null && first > last) throw reversed("since", "until");
  return { since: first, until: last };
}

function timeOf(text: string | undefined): Date | null {
  return text === undefined ? null : new Date(text);
}

/** The error for a range that ends before it begins: it would hold nothing, and the client would take that for an answer. */
export function reversed(first: string, last: string) {
  return invalidFields([
    { path: first, message: `is after ${last}: exchange the two` },
    { path: last, message: `is before ${first}: exchange the two` },
  ]);
}
