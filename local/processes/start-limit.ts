/** How long `npm start` waits for its parts, and what it says meanwhile. */

/**
 * The time that each part has for its start: stores, programs, the queue's first index. A part takes 1 to 10 s alone on a
 * machine, and many times that beside other work; a part that fails ends by itself, which ends the wait.
 */
export const startLimitMs = 120_000;

const noticeAfterMs = 15_000;

/** The error of a part that did not start in time. @param what the part, and what shows that it has started */
export function tooLate(what: string): Error {
  return new Error(`waited ${startLimitMs / 1_000} s for ${what}`);
}

/** Says on stderr what a start still waits for, once that takes long. @returns a function to call when the wait is over */
export function noticeWait(what: string): () => void {
  const [soFar, limit] = [noticeAfterMs / 1_000, startLimitMs / 1_000];
  const notice = (): void => console.error(`still waiting for ${what} (${soFar} s of at most ${limit} s)`);
  const timer = setTimeout(notice, noticeAfterMs);
  return () => clearTimeout(timer);
}
