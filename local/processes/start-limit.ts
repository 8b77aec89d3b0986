/** The time that `npm start` waits for its parts, and what it prints meanwhile. */

/**
 * The time that each part has for its start: stores, programs, the queue's first index. On an idle machine a part takes 1 to 10 s,
 * on a busy one many times that. A part that fails ends by itself, which ends the wait.
 */
export const startLimitMs = 120_000;

const noticeAfterMs = 15_000;

/** The error of a part that did not start in time. @param what the part, and what shows that it has started */
export function tooLate(what: string): Error {
  return new Error(`waited ${startLimitMs / 1_000} s for ${what}`);
}

/** Prints on stderr what a start waits for, when the wait takes more than 15 s. @returns a function to call when the wait is over */
export function noticeWait(what: string): () => void {
  const [soFar, limit] = [noticeAfterMs / 1_000, startLimitMs / 1_000];
  const notice = (): void => console.error(`still waiting for ${what} (${soFar} s of at most ${limit} s)`);
  const timer = setTimeout(notice, noticeAfterMs);
  return () => clearTimeout(timer);
}
