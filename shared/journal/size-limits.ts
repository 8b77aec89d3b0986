/**
 * The most bytes of one run. A run that needs more fails with `state_too_large`: no tenant's run may take the memory
 * in which a worker executes the runs of others, or fill Postgres alone.
 */

/**
 * The values of state as JSON, a reference counted as the value behind it because code steps load them all, and the turns
 * of the current step. A worker holds them for each run that it executes: with the default of ten runs at once that is
 * 160 MiB of JSON at worst, and two to three times as much in the memory of V8.
 */
const MAX_STATE_BYTES = 16 * 1024 * 1024;

/**
 * All entries of the journal: their outputs, and the events of all kinds. The worker that takes a run over reads them once, a
 * page at a time.
 */
const MAX_JOURNAL_BYTES = 64 * 1024 * 1024;

/** The error with which the run fails. */
export type TooLarge = { code: "state_too_large"; message: string };

/**
 * The error of a run whose state has this many bytes; null: the state is not too large.
 * @param what names the state and the step, as the beginning of a sentence
 */
export function whenStateTooLarge(what: string, bytes: number): TooLarge | null {
  if (bytes <= MAX_STATE_BYTES) return null;
  return {
    code: "state_too_large",
    message:
      `${what} would have ${mebibytes(bytes)}, and at most ${mebibytes(MAX_STATE_BYTES)} fit: shorten what the steps ` +
      `write, let steps write over each other's results by the same output_key, or store large results outside and ` +
      `only their addresses in state`,
  };
}

/**
 * The error of a run whose journal has this many bytes; null: the journal is not too large.
 * @param step the step that runs; null: none
 */
export function whenJournalTooLarge(step: string | null, bytes: number): TooLarge | null {
  if (bytes <= MAX_JOURNAL_BYTES) return null;
  const at = step === null ? "" : ` at step "${step}"`;
  return {
    code: "state_too_large",
    message:
      `the run's journal has ${mebibytes(bytes)}${at}, and at most ${mebibytes(MAX_JOURNAL_BYTES)} fit: loop less often, ` +
      `shorten what the steps write and print, or divide the work among several runs`,
  };
}

/** Bytes as a person reads them, rounded up: `16.0 MiB`, and one byte more is `16.1 MiB`. */
function mebibytes(bytes: number): string {
  return `${(Math.ceil((bytes / 1024 / 1024) * 10) / 10).toFixed(1)} MiB`;
}
