import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Link } from "./link.ts";

let far: Server;
let heard: string[];
let link: Link;
let port: number;

beforeEach(async () => {
  heard = [];
  far = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      heard.push(String(bytes));
      socket.write(`re ${String(bytes)}`);
    });
  });
  far.listen(0, "127.0.0.1");
  await once(far, "listening");
  const address = far.address();
  if (typeof address !== "object" || address === null) throw new Error("there is no port");
  link = new Link("a link", address.port);
  port = await link.listen();
});
afterEach(async () => {
  await link.close();
  far.close();
});

/** A client that notes what it reads, and whether it was cut off. */
async function join(): Promise<{ socket: Socket; read: string[]; closed: () => boolean }> {
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

const settled = () => sleep(60);

describe("a link", () => {
  test("carries both ways while it is open", async () => {
    const { socket, read } = await join();
    socket.write("a");
    await settled();
    expect([heard, read]).toEqual([["a"], ["re a"]]);
  });

  test("that is cut resets what is there and accepts nobody", async () => {
    const { closed } = await join();
    await settled();
    link.set("cut");
    const late = await join();
    await settled();
    expect([closed(), late.closed()]).toEqual([true, true]);
  });

  test("that hangs keeps connections, and what was said arrives when it is open again", async () => {
    const { socket, read, closed } = await join();
    await settled();
    link.set("hang");
    socket.write("a");
    await settled();
    expect([heard, read, closed()]).toEqual([[], [], false]);
    link.set("open");
    await settled();
    expect([heard, read]).toEqual([["a"], ["re a"]]);
  });

  test("that is deaf loses answers, and the connections with them", async () => {
    const { socket, read, closed } = await join();
    await settled();
    link.set("deaf");
    socket.write("a");
    await settled();
    expect([heard, read, closed()]).toEqual([["a"], [], false]);
    link.set("open");
    await settled();
    expect([read, closed()]).toEqual([[], true]);
  });

  test("that is slow delivers late, and in order", async () => {
    const { socket, read } = await join();
    await settled();
    link.set("slow");
    socket.write("a");
    await settled();
    expect(read).toEqual([]);
    await sleep(300);
    socket.write("b");
    await sleep(400);
    expect(read.join(" ")).toBe("re a re b");
  });
});
