import { expect, test } from "vitest";
import { likelyName, nearestName } from "../../../shared/text/nearest-name.ts";

const FIELDS = ["message", "tenant_id", "session_id", "priority", "metadata", "webhook_url", "state"];

test.each([
  ["tenant", "tenant_id"],
  ["tenantId", "tenant_id"],
  ["tenant-id", "tenant_id"],
  ["mesage", "message"],
  ["Message", "message"],
  ["prioriti", "priority"],
  ["webhook", "webhook_url"],
  ["webhookUrl", "webhook_url"],
  ["meta_data", "metadata"],
  ["sate", "state"],
  ["url", "webhook_url"],
])("%s is nearest to %s", (name, nearest) => {
  expect(likelyName(name, FIELDS)).toBe(nearest);
});

test("a name without a letter in common is not near, however short both are", () => {
  expect(likelyName("l", ["o", "n"])).toBeNull();
  expect(likelyName("ab", ["ac"])).toBe("ac");
});

test("the end of several names stands for none of them", () => {
  expect(likelyName("id", FIELDS)).toBeNull();
  expect(likelyName("id", ["name", "tenant_id"])).toBe("tenant_id");
});

test.each(["colour", "x", "", "timeout", "x".repeat(1_000_000)])("no field is near another name", (name) => {
  expect(likelyName(name, FIELDS)).toBeNull();
});

// Fails when a definition with long names takes seconds of the edge's time for each request that misspells one.
test("a name that is too long to be compared is near none, whichever of the two has it", () => {
  expect(nearestName("a".repeat(60), ["a".repeat(61)])).toBeNull();
  expect(nearestName("a".repeat(61), ["a".repeat(60)])).toBeNull();
  expect(nearestName("name", ["x".repeat(500), "nane"])).toEqual({ name: "nane", distance: 1 });
});
