/** `Upstash-Response-Format: resp2`: byte for byte what a TCP client gets. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { newKey, startFront, type Front } from "./front.ts";
import { pace } from "../../services/waiting.ts";

let front: Front;
let socket: Socket;
beforeAll(async () => {
  const url = new URL(inject("redisUrl"));
  front = await startFront(url.href);
  socket = connect(Number(url.port), url.hostname);
  await once(socket, "connect");
});
afterAll(async () => {
  socket.destroy();
  await front.stop();
});

/** Sends a command over TCP. @returns the bytes of its reply, as text */
async function overTcp(command: readonly string[]): Promise<string> {
  const parts = command.map((part) => `$${Buffer.byteLength(part)}\r\n${part}\r\n`);
  const reply = once(socket, "data");
  socket.write(`*${command.length}\r\n${parts.join("")}`);
  const [bytes]: Buffer[] = await reply;
  // All replies of this test are short; a pause for those that come in two pieces.
  const pieces: Buffer[] = [];
  const add = (piece: Buffer) => void pieces.push(piece);
  socket.on("data", add);
  await pace(2);
  socket.off("data", add);
  return Buffer.concat([bytes ?? Buffer.alloc(0), ...pieces]).toString();
}

const resp2 = () => ({
  headers: { authorization: `Bearer ${front.token}`, "upstash-response-format": "resp2" },
});

/** `%` is a key of this test, with which each command is executed twice: over TCP and over the front. */
const commands = [
  "PING",
  "PING hello",
  "ECHO OK",
  "SET % OK",
  "GET %",
  "SET % other GET",
  "SET % OK XX GET",
  "SET % OK NX",
  "MGET % nothing:",
  "TYPE %",
  "TYPE nothing:",
  "STRLEN %",
  "GET nothing:",
  "SETEX % 100 OK",
  "GETRANGE % 0 1",
  "MSET % OK",
  "OBJECT ENCODING %",
  "RENAME % %b",
  "DEL %b",
  "RPUSH % OK b c",
  "LRANGE % 0 -1",
  "LSET % 0 OK",
  "LINDEX % 0",
  "LTRIM % 0 1",
  "LPOP %",
  "LPOP % 5",
  "LPOP nothing:",
  "LPOP nothing: 2",
  "RPOP nothing: 2",
  "LPOS nothing: a COUNT 1",
  "LMPOP 1 nothing: LEFT",
  "HSET % OK OK",
  "HGET % OK",
  "HGETALL %",
  "HMSET % a b",
  "HRANDFIELD nothing:",
  "DEL %",
  "ZADD % 1 OK",
  "ZRANGE % 0 -1",
  "ZSCORE % OK",
  "ZRANK % none",
  "ZPOPMIN nothing:",
  "ZMPOP 1 nothing: MIN",
  "DEL %",
  "GEOADD % 13.361389 38.115556 Palermo",
  "GEOPOS % Palermo none",
  "GEOPOS nothing: a",
  "GEOHASH % none",
  "DEL %",
  "XREAD STREAMS nothing: 0",
  "XGROUP CREATE % g $ MKSTREAM",
  "XREADGROUP GROUP g c STREAMS % >",
  "XRANGE % - +",
  "XGROUP SETID % g 0",
  "DEL %",
  "SADD % OK",
  "SMEMBERS %",
  "SPOP nothing:",
  "SRANDMEMBER nothing:",
  "PFADD %h a",
  "PFMERGE %m %h",
  "SCRIPT EXISTS 0",
  "SLOWLOG RESET",

  "INCR %",
  "NOPE",
  "HGET %h x",
];

describe("the replies to", () => {
  test.each(commands)("%s are the bytes that a TCP client gets", async (line) => {
    // The earlier commands have been executed on both keys, so the state before this command is the same.
    const commandOn = (key: string) => line.split(" ").map((word) => word.replace("%", key));
    const expected = await overTcp(commandOn(keys.tcp));
    const answer = await front.call("/", commandOn(keys.front), resp2());
    expect(answer.text.replaceAll(keys.front, keys.tcp)).toBe(expected);
  });
  const keys = { tcp: newKey(), front: newKey() };
});

test("the replies of a pipeline are those of its commands", async () => {
  const key = newKey();
  const rows = [["PING"], ["SET", key, "OK"], ["GET", key], ["XREAD", "STREAMS", "nothing:", "0"], [null]];
  expect((await front.call("/pipeline", rows, resp2())).text).toBe(
    "+PONG\r\n+OK\r\n$2\r\nOK\r\n*-1\r\n-ERR failed to parse command\r\n",
  );
});
