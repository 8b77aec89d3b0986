import { expect, test } from "vitest";
import { listenAddress } from "../../local/edge/workerd-config.ts";

// Fails when EDGE_HOST=:: is looked up as a name, or ::1 with a port is read as another address (RFC 3986, 3.2.2).
test.each([
  ["0.0.0.0", "0.0.0.0:8123"],
  ["localhost", "localhost:8123"],
  ["::", "[::]:8123"],
  ["::1", "[::1]:8123"],
  ["[::]", "[::]:8123"],
])("an edge on the host %s listens on %s", (host, address) => {
  expect(listenAddress(host, 8123)).toBe(address);
});
