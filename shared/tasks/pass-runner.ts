/**
 * Runs the passes of a repeated task, one at a time. Guarantee: a pass begins after each request, unless the owner finishes. All requests that come during a pass
 * together cause one more, right after it.
 */
export class PassRunner {
  readonly #run: () => Promise<void>;
  #underWay: Promise<void> | null = null;
  #isRequested = false;
  #isFinishing = false;

  /** @param run makes one pass; it handles its failures itself and never rejects */
  constructor(run: () => Promise<void>) {
    this.#run = run;
  }

  /** Begins a pass now, or right after the one under way. */
  request(): void {
    if (this.#underWay) {
      this.#isRequested = !this.#isFinishing;
      return;
    }
    this.#underWay = this.#run().finally(() => {
      this.#underWay = null;
      if (!this.#isRequested) return;
      this.#isRequested = false;
      this.request();
    });
  }

  /**
   * Resolves when the pass under way has ended. No further pass follows it: requests that came before are dropped, and so are those of
   * the pass itself, which would begin another one after this promise has resolved.
   */
  async finish(): Promise<void> {
    this.#isRequested = false;
    this.#isFinishing = true;
    await this.#underWay;
    this.#isFinishing = false;
  }
}
