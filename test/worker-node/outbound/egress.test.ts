import { Resolver } from "node:dns/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server as TcpServer, Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createEgress } from "../../../worker-node/outbound/egress.ts";
import type { Egress } from "../../../worker-node/outbound/egress.ts";
import { send } from "../../../worker-node/outbound/request.ts";
import type { Incoming, Outgoing } from "../../../worker-node/outbound/request.ts";
import { startNameServer } from "./name-server.ts";

const closed = createEgress("");
const portOf = (server: TcpServer): number => {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
};
const urlOf = (host: string) => new URL(`http://${host}/`);

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
    expect(() => closed.check(urlOf(address))).toThrow("not a public address");
  });

  test.each(["1.1.1.1", "93.184.216.34", "[2606:4700:4700::1111]", "[::ffff:1.1.1.1]", "example.com"])(
    "has nothing against %s as it stands",
    (address) => {
      expect(() => closed.check(urlOf(address))).not.toThrow();
    },
  );

  test("lets through what is allowed, as an address or a range, and its neighbours not", () => {
    const egress = createEgress("10.0.0.0/8, 192.168.1.7 ,::1/128,");
    for (const address of ["10.9.9.9", "192.168.1.7", "[::1]", "[::ffff:10.0.0.1]"]) {
      expect(() => egress.check(urlOf(address))).not.toThrow();
    }
    for (const address of ["192.168.1.8", "[::2]", "127.0.0.1"]) {
      expect(() => egress.check(urlOf(address))).toThrow("not a public address");
    }
  });

  // Red when: it is taken for a name.
  test.each(["[::1]", "[::1]/128"])("lets an address through that is allowed as %s", (allow) => {
    expect(() => createEgress(allow).check(urlOf("[::1]"))).not.toThrow();
    expect(() => createEgress(allow).check(urlOf("[::2]"))).toThrow("not a public address");
  });

  // Red when: only the host is looked at, or its being allowed opens every port of it.
  test("refuses ports of other protocols, on whatever host", () => {
    for (const port of [22, 25, 6000, 10080]) {
      expect(() => createEgress("127.0.0.1").check(new URL(`http://127.0.0.1:${port}/`))).toThrow(
        `port ${port} is for another protocol than HTTP`,
      );
    }
    for (const port of ["", ":80", ":443", ":8080", ":24"]) {
      expect(() => closed.check(new URL(`https://example.com${port}/`))).not.toThrow();
    }
  });

  // Red when: what matches nothing is taken for a name, or a port for a part of an address.
  test.each([
    "10.0.0.0/99",
    "10.0.0",
    "10.0.0.256",
    "[::1]:8080",
    "[::1",
    "foo/99",
    "http://x",
    "*.internal",
    "x.internal:8080",
    "user@x",
    "a..b",
    "-x",
    "two words",
    "müller.internal",
    `${"a".repeat(64)}.internal`,
  ])("refuses %s at the start: it would never match", (entry) => {
    const first = new Error(
      "entry 2 must be a host name (tools.internal), an address (10.1.2.3) or a range (10.0.0.0/8): " +
        "no scheme, no port, no *",
    );
    expect(() => createEgress(`127.0.0.1,${entry},foo/99`)).toThrow(first);
  });

  test.each([
    "localhost",
    "tools.internal",
    "my_service",
    "a-b.c3",
    "xn--mller-kva.internal",
    "x.internal.",
    "7up",
  ])("takes the name %s", (name) => {
    expect(() => createEgress(`${name},`)).not.toThrow();
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
    port = portOf(server);
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  const getBy = (
    egress: Egress,
    url: string,
    { timeoutMs = 5_000, signal = new AbortController().signal } = {},
  ): Promise<Incoming> =>
    send(
      {
        url: new URL(url),
        method: "GET",
        headers: {},
        body: null,
        timeoutMs,
        timeoutCode: "tool_timeout",
        answerBytes: 1_000,
        signal,
      },
      egress,
    );
  const get = (url: string, allow: string) => getBy(createEgress(allow), url);

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

  // Red when: the guard is not asked of what DNS answers.
  test("to a name goes to the address that DNS has for it, if that is allowed", async () => {
    const names = await startNameServer({ "inside.example.com": "127.0.0.1" });
    const url = `http://inside.example.com:${port}/`;
    expect(await getBy(createEgress("127.0.0.1", names.resolver), url)).toMatchObject({ body: "inside" });
    await expect(getBy(createEgress("", names.resolver), url)).rejects.toMatchObject({
      code: "egress_blocked",
    });
    await expect(
      getBy(createEgress("127.0.0.1", names.resolver), `http://none.example.com:${port}/`),
    ).rejects.toMatchObject({ code: "unreachable", cause: { code: "ENOTFOUND" } });
    names.close();
  });

  // Red when: names of strangers are resolved by the operating system, or questions go on after an abort.
  test("to names whose server is silent keeps no other waiting, and asks no longer than it lives", async () => {
    const names = await startNameServer("silence");
    const egress = createEgress("localhost", names.resolver);
    const stop = new AbortController();
    const slow = Array.from({ length: 16 }, (_, i) =>
      getBy(egress, `http://n${i}.example.com:${port}/`, { signal: stop.signal }),
    );
    const settled = Promise.allSettled(slow);
    const cancelled = vi.spyOn(Resolver.prototype, "cancel");
    await expect.poll(() => new Set(names.asked).size).toBe(16);
    const startedMs = performance.now();
    expect(await getBy(egress, `http://localhost:${port}/`)).toMatchObject({ body: "inside" });
    stop.abort(new Error("enough"));
    for (const { status } of await settled) expect(status).toBe("rejected");
    // The operating system's own resolver would wait 5 s for each name.
    expect(performance.now() - startedMs).toBeLessThan(4_000);
    await expect(slow[0]).rejects.toThrow("enough");
    expect(cancelled).toHaveBeenCalledTimes(16);
    cancelled.mockRestore();
    names.close();
  });
});

describe("an exchange", () => {
  let server: TcpServer;
  let answer: (socket: Socket) => void = () => {};
  beforeAll(async () => {
    server = createTcpServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => answer(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterAll(() => server.close());

  const post = (
    answerBytes: Outgoing["answerBytes"],
    { timeoutMs = 5_000, signal = new AbortController().signal } = {},
  ): Promise<Incoming> =>
    send(
      {
        url: new URL(`http://127.0.0.1:${portOf(server)}/`),
        method: "POST",
        headers: {},
        body: "{}",
        timeoutMs,
        timeoutCode: "too_long",
        answerBytes,
        signal,
      },
      createEgress("127.0.0.1"),
    );

  // Red when: nobody listens for `upgrade`: Node then ends the request and tells nobody, not even when it is aborted.
  test("ends with an answer that switches protocols, and its connection with it", async () => {
    let gone = false;
    answer = (socket) => {
      socket.on("close", () => (gone = true));
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
    };
    expect(await post(1_000, { timeoutMs: 1_000 })).toMatchObject({ status: 101, body: "" });
    await expect.poll(() => gone).toBe(true);
  });

  // Red when: its body is waited for.
  test("whose answer's body is of no interest ends with the headers, and its connection with it", async () => {
    let gone = false;
    answer = (socket) => {
      socket.on("close", () => (gone = true));
      socket.write("HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 1000\r\n\r\nthe beginning");
    };
    expect(await post("ignored")).toMatchObject({ status: 200, headers: { "x-a": "b" }, body: "" });
    await expect.poll(() => gone).toBe(true);
    await expect(post(1_000, { timeoutMs: 300 })).rejects.toMatchObject({ code: "too_long" });
  });

  test.each([
    ["is closed without an answer", (socket: Socket) => socket.end()],
    ["is cut", (socket: Socket) => socket.resetAndDestroy()],
    [
      "is cut within the answer",
      (socket: Socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nthe"),
    ],
    ["speaks no HTTP", (socket: Socket) => socket.end("220 mail.example.com ESMTP\r\n")],
  ])("that %s is to be tried again", async (_, how) => {
    answer = how;
    await expect(post(1_000)).rejects.toMatchObject({ code: "unreachable" });
  });

  // Red when: only the request is told of an abort: it may have ended without a word.
  test("ends with its limit and with its signal, whatever the connection does", async () => {
    answer = () => {};
    await expect(post(1_000, { timeoutMs: 100 })).rejects.toMatchObject({ code: "too_long" });
    const reason = new Error("enough");
    await expect(post(1_000, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const stop = new AbortController();
    const ended = post(1_000, { signal: stop.signal });
    stop.abort(reason);
    await expect(ended).rejects.toBe(reason);
  });
});
