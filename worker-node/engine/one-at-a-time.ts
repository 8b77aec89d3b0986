/** Runs functions one after the other, in the order in which they came, also when one of them fails. */
export function oneAtATime(): <Value>(run: () => Promise<Value>) => Promise<Value> {
  let last: Promise<unknown> = Promise.resolve();
  return (run) => {
    const result = last.then(run, run);
    last = result;
    return result;
  };
}
