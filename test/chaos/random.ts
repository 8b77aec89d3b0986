/** Random numbers that can be repeated: the same seed and name give the same numbers. */
import { shardOf } from "../../shared/contracts/ids.ts";
import { randomNumbers } from "../services/random-numbers.ts";

export type Random = {
  /** A number in [0, 1). */
  next(): number;
  /** A number in [low, high). */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<Item>(items: readonly Item[]): Item;
  shuffle<Item>(items: readonly Item[]): Item[];
};

/** The numbers of one part of a run with this seed. The parts, by `name`, do not depend on each other. */
export function randomOf(seed: number, name: string): Random {
  const next = randomNumbers(shardOf(`${seed} ${name}`, 2 ** 32));
  const pick = <Item>(items: readonly Item[]): Item => {
    const item = items[Math.floor(next() * items.length)];
    if (item === undefined) throw new Error("there is nothing to pick from");
    return item;
  };
  return {
    next,
    pick,
    between: (low, high) => low + next() * (high - low),
    chance: (probability) => next() < probability,
    shuffle: (items) =>
      items
        .map((item) => ({ item, place: next() }))
        .toSorted((a, b) => a.place - b.place)
        .map(({ item }) => item),
  };
}
