import { expect, test } from "vitest";
import { rootTrack } from "../../../shared/journal/track.ts";
import { StateSize, sizeOfTurn } from "../../../worker-node/execution/state-size.ts";

test("a reference counts as the value behind it, and in memory as itself", () => {
  const held: number[] = [];
  const size = new StateSize((bytes) => held.push(bytes));
  const track = rootTrack({});
  const reference = {
    $ref: "acme/run/a/1.1/set.x",
    size: 5_000_000,
    content_type: "application/json",
    preview: "",
    url: "/x",
  };
  size.set(track, { large: reference, small: "ab" });
  const own = JSON.stringify(reference).length;
  expect([size.bytes, held.at(-1)]).toEqual([5_000_004, own + 4]);
  size.set(track, { large: "" });
  expect([size.bytes, held.at(-1)]).toEqual([6, 6]);
});

// Fails when each turn of a step is written as JSON again with every later turn: the last of 16 MiB held up the worker for 0.1 s each.
test("a turn is measured once, however many follow it", () => {
  let reads = 0;
  const turn = {
    get text() {
      reads += 1;
      return "four";
    },
  };
  expect([sizeOfTurn(turn), sizeOfTurn(turn)]).toEqual([15, 15]);
  expect(reads).toBe(1);
});
