import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { pace, slowPeer } from "../services/waiting.ts";
import { Link } from "./link.ts";

let far: Server;
/** What has arrived at the far end. */
let received: string[];
let link: Link;
let port: number;

beforeEach(async () => {
  received = [];
  far = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      const text = String(bytes);
      received.push(text);
      // A commit takes a while.
      void slowPeer(text.startsWith("commit") ? 40 : 0).then(() => socket.write(`re ${text}`));
    });
  });
  far.listen(0, "127.0.0.1");
  await once(far, "listening");
  const address = far.address();
  if (typeof address !== "object" || address === null) throw new Error("the far end has no port");
  link = new Link("a link", address.port);
  port = await link.listen();
});
afterEach(async () => {
  await link.close();
  far.close();
});

/** A client that records what it reads, and whether its connection was closed. */
async function connectClient(): Promise<{ socket: Socket; read: string[]; closed: () => boolean }> {
  const socket = connect(port, "127.0.0.1");
  const read: string[] = [];
  let closed = false;
  socket.on("error", () => {});
  socket.on("data", (bytes) => read.push(String(bytes)));
  socket.on("close", () => {
    closed = true;
  });
  await once(socket, "connect");
  return { socket, read, closed: () => closed };
}

/** Waits until `state` returns `expected`. */
const until = (state: () => unknown, expected: unknown) =>
  vi.waitFor(() => expect(state()).toEqual(expected), { timeout: 100_000, interval: 5 });

/** Gives something that must not happen the time to happen. A slow machine makes the test less strict, and does not fail it. */
const pause = () => pace(100);

/** A client whose connection through the link works. */
async function connectedClient(): Promise<Awaited<ReturnType<typeof connectClient>>> {
  const client = await connectClient();
  client.socket.write("hello");
  await until(() => client.read, ["re hello"]);
  client.read.length = 0;
  received.length = 0;
  return client;
}

describe("a link", () => {
  test("carries both ways while it is open", async () => {
    const { socket, read } = await connectClient();
    socket.write("a");
    await until(() => [received, read], [["a"], ["re a"]]);
  });

  test("that is cut resets its connections and accepts no other", async () => {
    const early = await connectedClient();
    link.set("cut");
    const late = await connectClient();
    await until(() => [early.closed(), late.closed()], [true, true]);
  });

  test("that hangs keeps connections, and delivers what was sent when it is open again", async () => {
    const { socket, read, closed } = await connectedClient();
    link.set("hang");
    socket.write("a");
    await pause();
    expect([received, read, closed()]).toEqual([[], [], false]);
    link.set("open");
    await until(() => [received, read], [["a"], ["re a"]]);
  });

  test("that is deaf loses responses, and the connections with them", async () => {
    const { socket, read, closed } = await connectedClient();
    link.set("deaf");
    socket.write("a");
    await until(() => received, ["a"]);
    await pause();
    expect([read, closed()]).toEqual([[], false]);
    link.set("open");
    await until(() => [read, closed()], [[], true]);
  });

  test("that is slow delivers late, and in order", async () => {
    const { socket, read } = await connectedClient();
    link.set("slow");
    const sentMs = performance.now();
    socket.write("a");
    await until(() => received, ["a"]);
    socket.write("b");
    await until(() => read.join(" "), "re a re b");
    // Each piece is delayed by 120 ms, on the way there and on the way back.
    expect(performance.now() - sentMs).toBeGreaterThan(200);
  });

  // Fails when the trap lets the request pass, loses another request, or loses a request before its time.
  test("with a trap loses the request that it waits for, once its time has come", async () => {
    let isTime = false;
    link.traps.push({ request: "commit", lost: "request", spring: () => isTime });
    const { socket, read } = await connectClient();
    socket.write("commit 1");
    await until(() => read, ["re commit 1"]);
    isTime = true;
    socket.write("look");
    await until(() => read, ["re commit 1", "re look"]);
    socket.write("commit 2");
    await pause();
    expect([received, read]).toEqual([
      ["commit 1", "look"],
      ["re commit 1", "re look"],
    ]);
  });

  // Fails when the trap loses the request as well, or the response to another request or on another connection.
  test("with a trap for a response lets the request pass, and loses the response", async () => {
    link.traps.push({ request: "commit", lost: "response", spring: () => true });
    const [trapped, other] = [await connectClient(), await connectClient()];
    trapped.socket.write("commit");
    await until(() => received, ["commit"]);
    other.socket.write("look");
    await until(() => other.read, ["re look"]);
    await pause();
    expect(received).toEqual(["commit", "look"]);
    expect(trapped.read).toEqual([]);
  });

  test("with two traps for one request springs the one whose time has come", async () => {
    const sprung: string[] = [];
    const trap = (lost: "request" | "response", isTime: boolean) => ({
      request: "commit",
      lost,
      spring: () => isTime && sprung.push(lost) > 0,
    });
    link.traps.push(trap("request", false), trap("response", true));
    const { socket, read } = await connectClient();
    socket.write("commit");
    await until(() => [received, sprung], [["commit"], ["response"]]);
    await pause();
    expect(read).toEqual([]);
  });
});
