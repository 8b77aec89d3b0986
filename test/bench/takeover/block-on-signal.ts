/** Imported into a worker of the bench: SIGUSR2 blocks its event loop, as a long calculation would. */
import { TOLERATED_STOP_MS } from "../../../shared/timing.ts";

process.on("SIGUSR2", () => {
  const endMs = performance.now() + TOLERATED_STOP_MS;
  while (performance.now() < endMs);
});
