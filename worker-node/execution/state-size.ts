import { FileReference } from "../../shared/contracts/artifact.ts";
import { Reference } from "../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Fork, Track } from "../../shared/journal/track.ts";

/**
 * The size of a value as JSON. `bytes` counts a reference as the value behind it, `held` counts the reference alone. A reference to
 * a file counts alone in both: no step loads a file with its state.
 */
type Size = { bytes: number; held: number };

/**
 * The size of a run's state: of all values that its tracks hold as JSON, a reference counted as the value behind it. It is
 * counted as values are set, so that a step costs what its own values cost, however large the state is. A track that has
 * ended counts until its fork is joined.
 */
export class StateSize {
  readonly #tracks = new Map<Track, Map<string, Size>>();
  readonly #ended = new Map<Fork, Size>();
  readonly #onHeld: (bytes: number) => void;
  #total: Size = { bytes: 0, held: 0 };

  /**
   * @param onHeld gets, after each change, the bytes of the state that are in the memory of this process: of a large value,
   * those of its reference
   */
  constructor(onHeld: (bytes: number) => void = () => {}) {
    this.#onHeld = onHeld;
  }

  get bytes(): number {
    return this.#total.bytes;
  }

  /** Counts a run from the beginning. */
  reset(progress: Track): void {
    this.#tracks.clear();
    this.#ended.clear();
    this.#total = { bytes: 0, held: 0 };
    this.set(progress, progress.state);
    this.#addFork(progress.fork);
  }

  #addFork(fork: Fork | null): void {
    if (fork === null) return;
    for (const { kept } of Object.values(fork.ended)) this.#keep(fork, sizesOf(kept));
    for (const track of fork.tracks.values()) {
      this.set(track, track.own);
      this.#addFork(track.fork);
    }
  }

  /** Records that these keys have these values in a track from now on. */
  set(track: Track, values: JsonObject): void {
    const sizes = this.#tracks.get(track) ?? new Map<string, Size>();
    this.#tracks.set(track, sizes);
    for (const [key, value] of Object.entries(values)) {
      const size = sizesOf(value);
      this.#add(size, sizes.get(key));
      sizes.set(key, size);
    }
    this.#onHeld(this.#total.held);
  }

  /** A track of a fork has ended. */
  end(track: Track, fork: Fork): void {
    const size = this.#drop(track);
    this.#add({ bytes: 0, held: 0 }, size);
    this.#keep(fork, size);
  }

  /** The tracks of a fork are joined: their values no longer count. */
  join(fork: Fork): void {
    this.#add({ bytes: 0, held: 0 }, this.#ended.get(fork));
    this.#ended.delete(fork);
    for (const track of fork.tracks.values()) {
      if (track.fork) this.join(track.fork);
      this.#add({ bytes: 0, held: 0 }, this.#drop(track));
    }
    this.#onHeld(this.#total.held);
  }

  #keep(fork: Fork, size: Size): void {
    this.#add(size);
    this.#ended.set(fork, sum([this.#ended.get(fork) ?? { bytes: 0, held: 0 }, size]));
    this.#onHeld(this.#total.held);
  }

  #add(size: Size, before: Size = { bytes: 0, held: 0 }): void {
    this.#total.bytes += size.bytes - before.bytes;
    this.#total.held += size.held - before.held;
  }

  /** Forgets a track. @returns what it held */
  #drop(track: Track): Size {
    const size = sum([...(this.#tracks.get(track)?.values() ?? [])]);
    this.#tracks.delete(track);
    return size;
  }
}

function sum(sizes: readonly Size[]): Size {
  return sizes.reduce((total, { bytes, held }) => ({ bytes: total.bytes + bytes, held: total.held + held }), {
    bytes: 0,
    held: 0,
  });
}

const turnSizes = new WeakMap<object, number>();

/**
 * The bytes of a turn of a step as JSON. It is measured once, as no turn changes: a step may have 16 MiB of turns, and all of them count
 * again with each further one.
 */
export function sizeOfTurn(turn: Json): number {
  if (typeof turn !== "object" || turn === null) return sizesOf(turn).bytes;
  const known = turnSizes.get(turn);
  if (known !== undefined) return known;
  const { bytes } = sizesOf(turn);
  turnSizes.set(turn, bytes);
  return bytes;
}

function sizesOf(value: Json): Size {
  const held = Buffer.byteLength(JSON.stringify(value));
  if (typeof value === "object" && value !== null && "$ref" in value) {
    if (FileReference.safeParse(value).success) return { bytes: held, held };
    const reference = Reference.safeParse(value);
    if (reference.success) return { bytes: reference.data.size, held };
  }
  return { bytes: held, held };
}
