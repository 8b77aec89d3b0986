/**
 * Runs the passes of a repeated task, one at a time. Guarantee: a pass begins after each request. All requests that come during a pass
 * together cause one more, right after it.
 */
export class PassRunner {
  readonly #run: () => Promise<void>;
  #underWay: Promise<void> | null = null;
  #isRequested = false;

  /** @param run makes one pass; it handles its failures itself and never rejects */
  constructor(run: () => Promise<void>) {
    this.#run = run;
  }

  /** Begins a pass now, or right after the one under way. */
  request(): void {
    if (this.#underWay) {
      this.#isRequested = true;
      return;
    }
    this.#underWay = this.#run().finally(() => {
      this.#underWay = null;
      if (!this.#isRequested) return;
      this.#isRequested = false;
      this.request();
    });
  }

  /** Drops the request for a further pass. Resolves when the pass under way has ended. */
  async finish(): Promise<void> {
    this.#isRequested = false;
    await this.#underWay;
  }
}
