import { getEventListeners } from "node:events";
import { Resolver } from "node:dns/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { Socket } from "node:net";
import type { AddressInfo, Server as TcpServer } from "node:net";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import type { Egress } from "../../../worker-node/outbound/egress-guard.ts";
import { RetryableError } from "../../../worker-node/engine/step-errors.ts";
import { send, wasNotSent } from "../../../worker-node/outbound/request.ts";
import type { OutboundRequest, OutboundResponse } from "../../../worker-node/outbound/request.ts";
import { connectGuarded } from "../../../worker-node/outbound/guarded-connect.ts";
import { startNameServer } from "./name-server.ts";

const AttemptLimit = z.object({ autoSelectFamilyAttemptTimeout: z.number() });

const strictEgress = createEgress("");
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
  ])("refuses %s, which is not a public address", (address) => {
    expect(() => strictEgress.check(urlOf(address))).toThrow("not a public address");
  });

  test.each(["1.1.1.1", "93.184.216.34", "[2606:4700:4700::1111]", "[::ffff:1.1.1.1]", "example.com"])(
    "lets %s pass the check of the URL",
    (address) => {
      expect(() => strictEgress.check(urlOf(address))).not.toThrow();
    },
  );

  test("allows the addresses and ranges of EGRESS_ALLOW, and not their neighbours", () => {
    const egress = createEgress("10.0.0.0/8, 192.168.1.7 ,::1/128,");
    for (const address of ["10.9.9.9", "192.168.1.7", "[::1]", "[::ffff:10.0.0.1]"]) {
      expect(() => egress.check(urlOf(address))).not.toThrow();
    }
    for (const address of ["192.168.1.8", "[::2]", "127.0.0.1"]) {
      expect(() => egress.check(urlOf(address))).toThrow("not a public address");
    }
  });

  // Fails when the entry is taken for a name.
  test.each(["[::1]", "[::1]/128"])("allows the address of an entry that is written as %s", (allow) => {
    expect(() => createEgress(allow).check(urlOf("[::1]"))).not.toThrow();
    expect(() => createEgress(allow).check(urlOf("[::2]"))).toThrow("not a public address");
  });

  // Fails when the guard checks the host only, or an allowed host opens all of its ports.
  test("refuses ports of other protocols on every host", () => {
    for (const port of [22, 25, 6000, 10080]) {
      expect(() => createEgress("127.0.0.1").check(new URL(`http://127.0.0.1:${port}/`))).toThrow(
        `port ${port} is for another protocol than HTTP`,
      );
    }
    for (const port of ["", ":80", ":443", ":8080", ":24"]) {
      expect(() => strictEgress.check(new URL(`https://example.com${port}/`))).not.toThrow();
    }
  });

  // Fails when an entry that matches nothing is taken for a name, or a port for a part of an address.
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
  ])("refuses the entry %s at the start, because it can match nothing", (entry) => {
    const firstError = new Error(
      "entry 2 must be a host name (tools.internal), an address (10.1.2.3) or a range (10.0.0.0/8): " +
        "no scheme, no port, no *",
    );
    expect(() => createEgress(`127.0.0.1,${entry},foo/99`)).toThrow(firstError);
  });

  test.each([
    "localhost",
    "tools.internal",
    "my_service",
    "a-b.c3",
    "xn--mller-kva.internal",
    "x.internal.",
    "7up",
  ])("accepts the entry %s as a host name", (name) => {
    expect(() => createEgress(`${name},`)).not.toThrow();
  });
});

describe("a request to a host", () => {
  let server: Server;
  let port: number;
  let requests = 0;
  beforeAll(async () => {
    server = createServer((_, response) => {
      requests++;
      response.end("inside");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = portOf(server);
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));

  const getThrough = (
    egress: Egress,
    url: string,
    { timeoutMs = 60_000, signal = new AbortController().signal } = {},
  ): Promise<OutboundResponse> =>
    send(
      {
        url: new URL(url),
        method: "GET",
        headers: {},
        body: null,
        timeoutMs,
        timeoutCode: "tool_timeout",
        maxResponseBytes: 1_000,
        signal,
      },
      egress,
    );
  const get = (url: string, allow: string) => getThrough(createEgress(allow), url);

  test.each(["127.0.0.1", "localhost", "0x7f000001", "2130706433", "127.1", "[::ffff:127.0.0.1]"])(
    "%s does not reach a server on this machine",
    async (host) => {
      const before = requests;
      await expect(get(`http://${host}:${port}/`, "")).rejects.toMatchObject({ code: "egress_blocked" });
      expect(requests).toBe(before);
    },
  );

  test.each([
    ["127.0.0.1", "127.0.0.0/8"],
    ["localhost", "localhost"],
    ["localhost", "127.0.0.1"],
  ])("%s reaches a server on this machine when EGRESS_ALLOW has %s", async (host, allow) => {
    expect(await get(`http://${host}:${port}/`, allow)).toMatchObject({ status: 200, body: "inside" });
  });

  test("gets the path, the query and the name and password of its URL, also at an address in brackets", async () => {
    const seen: unknown[] = [];
    const ipv6 = createServer(({ url, headers: { host, authorization } }, response) => {
      seen.push({ url, host, authorization });
      response.end();
    });
    await new Promise<void>((resolve) => ipv6.listen(0, "::1", resolve));
    const host = `[::1]:${portOf(ipv6)}`;
    await get(`http://me:p%40ss@${host}/a%20b/?q=1&r#part`, "::1");
    ipv6.close();
    expect(seen).toEqual([{ url: "/a%20b/?q=1&r", host, authorization: `Basic ${btoa("me:p@ss")}` }]);
  });

  // Fails when the guard does not check the addresses that DNS returns.
  test("by name goes to the address in DNS, if that address is allowed", async () => {
    const names = await startNameServer({ "inside.example.com": "127.0.0.1" });
    const url = `http://inside.example.com:${port}/`;
    expect(await getThrough(createEgress("127.0.0.1", names.resolver), url)).toMatchObject({
      body: "inside",
    });
    await expect(getThrough(createEgress("", names.resolver), url)).rejects.toMatchObject({
      code: "egress_blocked",
    });
    await expect(
      getThrough(createEgress("127.0.0.1", names.resolver), `http://none.example.com:${port}/`),
    ).rejects.toMatchObject({ code: "unreachable", cause: { code: "ENOTFOUND" } });
    names.close();
  });

  // Fails when the operating system resolves names of tenants, or DNS queries continue after an abort.
  test("by names whose name server is silent delays no other request, and an abort cancels its queries", async () => {
    const names = await startNameServer("silence");
    const egress = createEgress("localhost", names.resolver);
    const stop = new AbortController();
    const slow = Array.from({ length: 16 }, (_, i) =>
      getThrough(egress, `http://n${i}.example.com:${port}/`, { timeoutMs: 600_000, signal: stop.signal }),
    );
    const settled = Promise.allSettled(slow);
    const cancelled = vi.spyOn(Resolver.prototype, "cancel");
    await expect.poll(() => new Set(names.queried).size).toBe(16);
    expect(await getThrough(egress, `http://localhost:${port}/`)).toMatchObject({ body: "inside" });
    stop.abort(new Error("enough"));
    for (const result of await settled) {
      expect(result).toMatchObject({ status: "rejected", reason: { message: "enough" } });
    }
    expect(cancelled).toHaveBeenCalledTimes(16);
    cancelled.mockRestore();
    names.close();
  });
});

describe("an exchange", () => {
  let server: TcpServer;
  let respond: (socket: Socket) => void = () => {};
  beforeAll(async () => {
    server = createTcpServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => respond(socket));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterAll(() => server.close());

  const post = (
    maxResponseBytes: OutboundRequest["maxResponseBytes"],
    {
      timeoutMs = 60_000,
      signal = new AbortController().signal,
      ...options
    }: Partial<Pick<OutboundRequest, "timeoutMs" | "signal" | "sink">> = {},
  ): Promise<OutboundResponse> =>
    send(
      {
        url: new URL(`http://127.0.0.1:${portOf(server)}/`),
        method: "POST",
        headers: {},
        body: "{}",
        timeoutMs,
        timeoutCode: "too_long",
        maxResponseBytes,
        signal,
        ...options,
      },
      createEgress("127.0.0.1"),
    );

  // Fails when there is no listener for `upgrade`: Node then ends the request without any event, even after an abort.
  test("ends at a response that switches protocols, and closes its connection", async () => {
    let closed = false;
    respond = (socket) => {
      socket.on("close", () => (closed = true));
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
    };
    expect(await post(1_000)).toMatchObject({ status: 101, body: "" });
    await expect.poll(() => closed).toBe(true);
  });

  // Fails when a reader that goes on after the limit starts the limit's timer again, which is up to minutes long.
  test("leaves no timer and no listener behind when its reader outlasts an abort", async () => {
    respond = (socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const stop = new AbortController();
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    try {
      const sink: OutboundRequest["sink"] = async (body) => {
        try {
          for await (const _part of body) {
            stop.abort(new Error("cancelled"));
            await released;
          }
        } finally {
          end();
        }
      };
      const work = post(1_000, { timeoutMs: 60_000, signal: stop.signal, sink });
      await expect(work).rejects.toThrow("cancelled");
      release();
      await ended;
      expect(vi.getTimerCount()).toBe(0);
      expect(getEventListeners(stop.signal, "abort")).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });

  // Fails when it waits for the body.
  test("that ignores the response body ends at the headers, and closes its connection", async () => {
    let closed = false;
    respond = (socket) => {
      socket.on("close", () => (closed = true));
      socket.write("HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 1000\r\n\r\nthe beginning");
    };
    expect(await post("ignored")).toMatchObject({ status: 200, headers: { "x-a": "b" }, body: "" });
    await expect.poll(() => closed).toBe(true);
    await expect(post(1_000, { timeoutMs: 300 })).rejects.toMatchObject({ code: "too_long" });
  });

  // Fails with the 250 ms that Node gives an address before it takes the next one, which may have no route.
  test("has more than two seconds for a connection to each address of a name", async () => {
    const connect = vi.spyOn(Socket.prototype, "connect");
    respond = (socket) => socket.end("HTTP/1.1 204 No Content\r\n\r\n");
    await post(1_000);
    const { port } = new URL(`http://127.0.0.1:${portOf(server)}`);
    const guarded = createEgress("127.0.0.1");
    const socket = await connectGuarded(
      { host: "127.0.0.1", port: Number(port) },
      guarded,
      new AbortController().signal,
    );
    socket.destroy();
    const limits = connect.mock.calls.flat(2).flatMap((each) => AttemptLimit.safeParse(each).data ?? []);
    connect.mockRestore();
    expect(limits.map((limit) => limit.autoSelectFamilyAttemptTimeout > 2_000)).toEqual([true, true]);
  });

  // Fails when a file x.tar.gz has the bytes of x.tar, because its server calls its gzip the encoding of the body, or has gzip around gzip.
  test.each([
    ["a gzip file that is called encoded", gzipSync("tar"), "x.tar.gz", gzipSync("tar")],
    ["a gzip file that was encoded once more", gzipSync(gzipSync("tar")), "x.tgz", gzipSync("tar")],
    ["a gzip file that is called encoded and is not gzip", Buffer.from("tar"), "x.gz", Buffer.from("tar")],
    ["an encoded text", gzipSync("a,b"), "x.csv", Buffer.from("a,b")],
    ["a gzip file in another encoding", brotliCompressSync(gzipSync("tar")), "x.gz", gzipSync("tar"), "br"],
  ])("passes on the file: %s", async (_, sent, name, expected, encoding = "x-gzip") => {
    respond = (socket) => {
      socket.write(
        `HTTP/1.1 200 OK\r\nContent-Encoding: ${encoding}\r\nContent-Disposition: attachment; filename=${name}\r\n` +
          `Content-Length: ${sent.length}\r\n\r\n`,
      );
      socket.end(sent);
    };
    const parts: Uint8Array[] = [];
    await post(1_000, {
      sink: async (body) => {
        for await (const part of body) parts.push(part);
      },
    });
    expect(Buffer.concat(parts)).toEqual(expected);
  });

  test("takes a response with headers of up to 64 KiB", async () => {
    respond = (socket) =>
      socket.end(`HTTP/1.1 200 OK\r\nX-A: ${"b".repeat(60_000)}\r\nContent-Length: 0\r\n\r\n`);
    expect((await post(1_000)).headers["x-a"]).toHaveLength(60_000);
  });

  // Fails when the error of a server that answers is that of a server that cannot be reached.
  test("fails with an error that says so when the server sends something other than HTTP", async () => {
    respond = (socket) => socket.end("HTTP/1.1 200 OK\r\nX A: b\r\n\r\n");
    await expect(post(1_000)).rejects.toMatchObject({
      code: "unreachable",
      message: expect.stringMatching(/ sends something other than HTTP \(HPE_\w+\)$/),
    });
  });

  test.each([
    ["is closed without a response", (socket: Socket) => socket.end()],
    ["is cut", (socket: Socket) => socket.resetAndDestroy()],
    [
      "is cut within the response",
      (socket: Socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nthe"),
    ],
    ["speaks no HTTP", (socket: Socket) => socket.end("220 mail.example.com ESMTP\r\n")],
  ])("that %s fails with a retryable error", async (_, how) => {
    respond = how;
    await expect(post(1_000)).rejects.toMatchObject({ code: "unreachable" });
  });

  // Fails when only the request gets the abort: it may have ended without an event.
  test("ends at its time limit and at an abort, whatever the connection does", async () => {
    respond = () => {};
    await expect(post(1_000, { timeoutMs: 100 })).rejects.toMatchObject({ code: "too_long" });
    const reason = new Error("enough");
    await expect(post(1_000, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const stop = new AbortController();
    const ended = post(1_000, { signal: stop.signal });
    stop.abort(reason);
    await expect(ended).rejects.toBe(reason);
  });
});

// Fails when an error of an open connection is taken for one before the request: the request may have been carried out.
test.each([
  [{ code: "ECONNREFUSED", syscall: "connect" }, true],
  [{ code: "ENOTFOUND", syscall: "getaddrinfo" }, true],
  [{ code: "CERT_HAS_EXPIRED" }, true],
  [{ code: "EHOSTUNREACH", syscall: "connect" }, true],
  [{ code: "EHOSTUNREACH", syscall: "read" }, false],
  [{ code: "ENETUNREACH", syscall: "write" }, false],
  [{ code: "ECONNRESET", syscall: "read" }, false],
  [{ code: "ETIMEDOUT", syscall: "read" }, false],
  [{ code: "ETIMEDOUT", syscall: "connect" }, true],
  // Of several addresses.
  [{ code: "ETIMEDOUT" }, true],
])("a request that fails with %j was not sent: %s", (fields, expected) => {
  const cause = Object.assign(new Error("failed"), fields);
  expect(wasNotSent(new RetryableError("unreachable", "failed", { cause }))).toBe(expected);
});

// Fails when a body goes out without its length: the server would read a DELETE without its body, and the body as another request.
test.each(["DELETE", "POST", "PATCH"])("the body of a %s arrives", async (method) => {
  const server = createServer((request, response) => void request.pipe(response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const signal = new AbortController().signal;
  const limits = { timeoutMs: 60_000, timeoutCode: "timeout", maxResponseBytes: 1_000, signal };
  try {
    const url = urlOf(`127.0.0.1:${portOf(server)}`);
    const sent = { url, method, headers: {}, body: "né {}", ...limits };
    expect(await send(sent, createEgress("127.0.0.1"))).toMatchObject({ status: 200, body: "né {}" });
  } finally {
    server.close();
  }
});
