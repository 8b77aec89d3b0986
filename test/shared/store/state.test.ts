import { expect, test } from "vitest";
import { findVerb, remoteStateStore } from "../../../shared/store/state.ts";

// Fails when the name of a verb, which is its path at the edge, differs from its key in StateStore.
test("a remote verb is sent under its own name, and the edge has a handler of that name", async () => {
  const sent: string[] = [];
  const store = remoteStateStore(async (name) => {
    sent.push(name);
    throw new Error("the edge is unreachable");
  });
  await Promise.allSettled(Object.values(store).map((verb) => Reflect.apply(verb, store, [])));
  expect(sent).toEqual(Object.keys(store));
  expect(sent.filter((name) => findVerb(name) === null)).toEqual([]);
});
