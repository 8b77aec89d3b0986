/** A promise that was broken: which, how, and by what run, if it is one run's. */
export type Violation = { promise: string; detail: string; run: string | null };

export function broken(promise: string, detail: string, run: string | null = null): Violation {
  return { promise, detail, run };
}
