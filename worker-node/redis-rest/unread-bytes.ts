import type { ServerResponse } from "node:http";

const MIB = 1024 * 1024;

/**
 * How much a viewer may leave unread: the limits that Redis itself has for a subscriber by default
 * (`client-output-buffer-limit pubsub 32mb 8mb 60`), so that a viewer loses nothing that Redis sends. A burst of messages
 * or one large message is no sign of a slow viewer.
 */
const MOST_BYTES = 32 * MIB;
const LASTING_BYTES = 8 * MIB;
const LASTING_MS = 60_000;

/** For all viewers together: they share the memory of this process. */
const ALL_BYTES = 256 * MIB;

/** Writes to viewers, and cuts off a viewer that is too slow: its client sees that the response was not completed. */
export class UnreadBytes {
  /** The viewers with more than `LASTING_BYTES` unread, and since when. */
  readonly #slowSinceMs = new Map<ServerResponse, number>();
  /** The viewers that had not read all when they were written to last. */
  readonly #behind = new Set<ServerResponse>();

  write(viewer: ServerResponse, text: string): void {
    const isBehind = !viewer.write(text);
    if (isBehind) this.#behind.add(viewer);
    else this.forget(viewer);
    if (isBehind && this.#isTooSlow(viewer)) this.#cutOff(viewer);
    else if (isBehind && viewer.writableLength > MIB) this.#boundAll();
  }

  forget(viewer: ServerResponse): void {
    this.#behind.delete(viewer);
    this.#slowSinceMs.delete(viewer);
  }

  #isTooSlow(viewer: ServerResponse): boolean {
    if (viewer.writableLength > MOST_BYTES) return true;
    if (viewer.writableLength <= LASTING_BYTES) {
      this.#slowSinceMs.delete(viewer);
      return false;
    }
    const sinceMs = this.#slowSinceMs.get(viewer) ?? performance.now();
    this.#slowSinceMs.set(viewer, sinceMs);
    return performance.now() - sinceMs > LASTING_MS;
  }

  /** Cuts off the viewer that is behind most when all together have too much unread. */
  #boundAll(): void {
    const unread = [...this.#behind].reduce((sum, { writableLength }) => sum + writableLength, 0);
    if (unread <= ALL_BYTES) return;
    const [slowest] = [...this.#behind].toSorted((a, b) => b.writableLength - a.writableLength);
    if (slowest) this.#cutOff(slowest);
  }

  #cutOff(viewer: ServerResponse): void {
    this.forget(viewer);
    viewer.destroy();
  }
}
