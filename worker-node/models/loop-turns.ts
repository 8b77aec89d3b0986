/**
 * Divides work among turns of the event loop: each `next` resolves in a turn of its own, in the order of the calls.
 *
 * The beginning and the end of a model call each occupy the thread for about a millisecond in the SDK. When 200 answers end at once,
 * nothing else of the worker would move for a quarter of a second: no commit would be read, and no committed event published. With a
 * turn for each, those are between.
 */
export class LoopTurns {
  readonly #waiting: (() => void)[] = [];

  next(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    if (this.#waiting.length === 1) setImmediate(this.#release);
    return promise;
  }

  readonly #release = (): void => {
    this.#waiting.shift()?.();
    if (this.#waiting.length > 0) setImmediate(this.#release);
  };
}
