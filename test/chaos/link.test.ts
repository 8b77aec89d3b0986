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
      const text = String(bytes);
      heard.push(text);
      // A commit takes its time.
      setTimeout(() => socket.write(`re ${text}`), text.startsWith("commit") ? 40 : 0);
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

const settled = () => sleep(100);

async function say(socket: Socket, text: string): Promise<void> {
  socket.write(text);
  await settled();
}

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

  // Red when: a trap lets the question through, or springs for another question or before its time.
  test("with a trap loses the question that it waits for, once its time has come", async () => {
    let isTime = false;
    link.traps.push({ request: "commit", lost: "question", spring: () => isTime });
    const { socket, read } = await join();
    await say(socket, "commit 1");
    isTime = true;
    await say(socket, "look");
    await say(socket, "commit 2");
    expect([heard, read]).toEqual([
      ["commit 1", "look"],
      ["re commit 1", "re look"],
    ]);
  });

  // Red when: the trap loses the question as well, or an answer to something else, or one of another connection.
  test("with a trap for an answer lets the question through, and loses what is said to it", async () => {
    link.traps.push({ request: "commit", lost: "answer", spring: () => true });
    const [one, other] = [await join(), await join()];
    one.socket.write("commit");
    await sleep(10);
    await say(other.socket, "look");
    await settled();
    expect(heard).toEqual(["commit", "look"]);
    expect([one.read, other.read]).toEqual([[], ["re look"]]);
  });

  test("with two traps for one question springs the one whose time has come", async () => {
    const sprung: string[] = [];
    const trap = (lost: "question" | "answer", isTime: boolean) => ({
      asked: "commit",
      lost,
      spring: () => isTime && sprung.push(lost) > 0,
    });
    link.traps.push(trap("question", false), trap("answer", true));
    const { socket, read } = await join();
    await say(socket, "commit");
    expect([heard, read, sprung]).toEqual([["commit"], [], ["answer"]]);
  });
});
