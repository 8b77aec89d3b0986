/**
 * Resolves at the first SIGTERM or SIGINT. Later ones have no effect, because a shell, npm and a process manager may each pass the same
 * signal on, and the second would cut the stop that the first began. The stop has a time limit of its own, and SIGKILL ends it at once.
 */
export function untilSignalled(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => resolve());
  });
}
