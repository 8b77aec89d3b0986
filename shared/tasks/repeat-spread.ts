/**
 * Calls `act` again and again, each time after `ms` or up to a tenth sooner. So tasks of one period that were started together do not stay
 * together: their statements would need a connection each, every time.
 * @returns a function that ends the repetition
 */
export function repeatSpread(ms: number, act: () => void): () => void {
  const wait = (): ReturnType<typeof setTimeout> =>
    setTimeout(
      () => {
        timer = wait();
        act();
      },
      ms * (1 - Math.random() / 10),
    );
  let timer = wait();
  return () => clearTimeout(timer);
}
