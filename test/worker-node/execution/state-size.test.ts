import { expect, test } from "vitest";
import { rootTrack } from "../../../shared/journal/track.ts";
import { StateSize } from "../../../worker-node/execution/state-size.ts";

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
