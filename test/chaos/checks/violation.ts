/** A broken promise: its name, what shows it, and the run, if it concerns a single run. */
export type Violation = { promise: string; detail: string; run: string | null };

export function broken(promise: string, detail: string, run: string | null = null): Violation {
  return { promise, detail, run };
}
