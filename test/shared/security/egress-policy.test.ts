import { expect, test } from "vitest";
import { egressPolicyOf } from "../../../shared/security/egress-policy.ts";

// Fails when the local mode, which lists the loopback ranges, refuses `redis://localhost:6379/0` or an object store at localhost.
test.each([
  ["127.0.0.0/8,::1/128", true],
  ["127.0.0.1", true],
  ["::1/128", true],
  ["localhost", true],
  ["10.0.0.0/8,store.internal", false],
])("localhost is listed where a loopback address is: %s", (allow, isListed) => {
  const policy = egressPolicyOf(allow);
  expect(["localhost", "LOCALHOST"].map((host) => policy.lists(host))).toEqual([isListed, isListed]);
  expect(["my.localhost.example.com", "localhost.example.com"].some((host) => policy.lists(host))).toBe(
    false,
  );
});
