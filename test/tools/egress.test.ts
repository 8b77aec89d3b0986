import { createServer } from "node:http";
import type { AddressInfo, Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createEgress } from "../../worker-node/tools/egress.ts";
import { send } from "../../worker-node/tools/request.ts";

const closed = createEgress("");

describe("the egress guard", () => {
  test.each([
    "127.0.0.1",
    "127.255.0.9",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::1]",
    "[2001:db8::1]",
    "[fec0::1]",
  ])("does not let %s through", (address) => {
    expect(() => closed.check(address)).toThrow("not a public address");
  });

  test.each(["1.1.1.1", "93.184.216.34", "[2606:4700:4700::1111]", "[::ffff:1.1.1.1]", "example.com"])(
    "has nothing against %s as it stands",
    (address) => {
      expect(() => closed.check(address)).not.toThrow();
    },
  );

  test("lets through what is allowed, as an address or a range, and its neighbours not", () => {
    const egress = createEgress("10.0.0.0/8, 192.168.1.7 ,::1/128,");
    for (const address of ["10.9.9.9", "192.168.1.7", "[::1]", "[::ffff:10.0.0.1]"]) {
      expect(() => egress.check(address)).not.toThrow();
    }
    for (const address of ["192.168.1.8", "[::2]", "127.0.0.1"]) {
      expect(() => egress.check(address)).toThrow("not a public address");
    }
  });

  test("refuses a malformed range at the start", () => {
    expect(() => createEgress("10.0.0.0/99")).toThrow();
  });
});

describe("a request", () => {
  let server: Server;
  let port: number;
  let reached = 0;
  beforeAll(async () => {
    server = createServer((_, response) => {
      reached++;
      response.end("inside");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address: AddressInfo | string | null = server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    port = address.port;
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  const get = (url: string, allow: string): Promise<{ status: number; body: string }> =>
    send(
      {
        url: new URL(url),
        method: "GET",
        headers: {},
        body: null,
        timeoutMs: 5_000,
        timeoutCode: "tool_timeout",
        maxBytes: 1_000,
        excess: "fails",
        signal: new AbortController().signal,
      },
      createEgress(allow),
    );

  test.each(["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "[::ffff:127.0.0.1]"])(
    "to %s does not reach a server on this machine",
    async (host) => {
      const before = reached;
      await expect(get(`http://${host}:${port}/`, "")).rejects.toMatchObject({ code: "egress_blocked" });
      expect(reached).toBe(before);
    },
  );

  test.each([
    ["127.0.0.1", "127.0.0.0/8"],
    ["localhost", "localhost"],
    ["localhost", "127.0.0.1"],
  ])("to %s reaches it when %s is allowed", async (host, allow) => {
    expect(await get(`http://${host}:${port}/`, allow)).toMatchObject({ status: 200, body: "inside" });
  });
});
