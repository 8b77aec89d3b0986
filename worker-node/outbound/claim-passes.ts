import { PassRunner } from "../../shared/tasks/pass-runner.ts";
import { repeatSpread } from "../../shared/tasks/repeat-spread.ts";
import { WEBHOOK_PASS_MS } from "../../shared/timing.ts";

/** The shortest wait for the next start of a lane with a rate. */
const MIN_START_WAIT_MS = 20;

/**
 * The passes of a sender, one at a time, in each of which it claims what is due: when `wake` is called, when the lane has its next start,
 * and after 5 s at most for what other workers did not finish.
 */
export class ClaimPasses {
  readonly #claim: () => Promise<void>;
  readonly #onFailure: (error: unknown) => void;
  readonly #passes = new PassRunner(() => this.#runPass());
  #endRepeats = (): void => {};
  #nextStart: NodeJS.Timeout | undefined;
  #isActive = false;
  #hasFailed = false;

  /** @param onFailure called with the first failure of an outage, not with that of each pass */
  constructor(claim: () => Promise<void>, onFailure: (error: unknown) => void) {
    this.#claim = claim;
    this.#onFailure = onFailure;
  }

  /** Whether a pass may go on to claim. */
  get isActive(): boolean {
    return this.#isActive;
  }

  start(): void {
    this.#isActive = true;
    this.#endRepeats = repeatSpread(WEBHOOK_PASS_MS, () => this.wake());
    this.wake();
  }

  /** Starts a pass, now or after the one under way. */
  wake(): void {
    if (this.#isActive) this.#passes.request();
  }

  /** Starts a pass when the lane has its next start. */
  wakeAfter(ms: number): void {
    clearTimeout(this.#nextStart);
    if (this.#isActive) this.#nextStart = setTimeout(() => this.wake(), Math.max(MIN_START_WAIT_MS, ms));
  }

  /** Starts no more passes. Resolves when the one under way has ended. */
  async stop(): Promise<void> {
    this.#isActive = false;
    this.#endRepeats();
    clearTimeout(this.#nextStart);
    await this.#passes.finish();
  }

  async #runPass(): Promise<void> {
    try {
      await this.#claim();
      this.#hasFailed = false;
    } catch (error) {
      if (!this.#hasFailed) this.#onFailure(error);
      this.#hasFailed = true;
    }
  }
}
