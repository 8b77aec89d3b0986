import { Reference } from "../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Fork, Track } from "../../shared/journal/track.ts";

/**
 * The size of a run's state: of all values that its tracks hold as JSON, a reference counted as the value behind it. It is
 * counted as values are set, so that a step costs what its own values cost, however large the state is. A track that has
 * ended counts until its fork is joined.
 */
export class StateSize {
  readonly #tracks = new Map<Track, Map<string, number>>();
  readonly #ended = new Map<Fork, number>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** Counts a run from the beginning. */
  reset(progress: Track): void {
    this.#tracks.clear();
    this.#ended.clear();
    this.#bytes = 0;
    this.set(progress, progress.state);
    this.#addFork(progress.fork);
  }

  #addFork(fork: Fork | null): void {
    if (fork === null) return;
    for (const { kept } of Object.values(fork.ended)) this.#keep(fork, sizeOf(kept));
    for (const track of fork.tracks.values()) {
      this.set(track, track.own);
      this.#addFork(track.fork);
    }
  }

  /** Records that these keys have these values in a track from now on. */
  set(track: Track, values: JsonObject): void {
    const sizes = this.#tracks.get(track) ?? new Map<string, number>();
    this.#tracks.set(track, sizes);
    for (const [key, value] of Object.entries(values)) {
      const size = sizeOf(value);
      this.#bytes += size - (sizes.get(key) ?? 0);
      sizes.set(key, size);
    }
  }

  /** A track of a fork has ended. */
  end(track: Track, fork: Fork): void {
    const bytes = this.#drop(track);
    this.#bytes -= bytes;
    this.#keep(fork, bytes);
  }

  /** The tracks of a fork are joined: what they held counts no more. */
  join(fork: Fork): void {
    this.#bytes -= this.#ended.get(fork) ?? 0;
    this.#ended.delete(fork);
    for (const track of fork.tracks.values()) {
      if (track.fork) this.join(track.fork);
      this.#bytes -= this.#drop(track);
    }
  }

  #keep(fork: Fork, bytes: number): void {
    this.#bytes += bytes;
    this.#ended.set(fork, (this.#ended.get(fork) ?? 0) + bytes);
  }

  /** Forgets a track. @returns the bytes that it held */
  #drop(track: Track): number {
    const bytes = [...(this.#tracks.get(track)?.values() ?? [])].reduce((sum, size) => sum + size, 0);
    this.#tracks.delete(track);
    return bytes;
  }
}

/** The bytes of a value as JSON, or of the value behind a reference. */
export function sizeOf(value: Json): number {
  if (typeof value === "object" && value !== null && "$ref" in value) {
    const reference = Reference.safeParse(value);
    if (reference.success) return reference.data.size;
  }
  return Buffer.byteLength(JSON.stringify(value));
}
