/**
 * A load generator that costs little compared with the server under load (some 25 us a request): plain sockets that stay
 * open, each with one request in flight, always of the same bytes.
 */
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { withCpu } from "./cpu.ts";
import type { Watched } from "./cpu.ts";
import { quantile, roundsRow } from "./stats.ts";
import type { Row } from "./stats.ts";

/** `status`: the status that every response must have. */
export type Load = { port: number; clients: number; request: Buffer; status: number };

const ANSWER_MS = 10_000;
const WARM_MS = 1_500;
const ROUND_MS = 3_000;
const ROUNDS = 3;

/** The rows for a load, with the processor time per request of each watched process. `marks`: the targets of the rate and of the p99. */
export async function loadRows(
  what: string,
  load: Load,
  watched: Watched,
  marks: { perSecond?: string; p99?: string } = {},
): Promise<Row[]> {
  // One request first, so that caches are filled before all clients begin.
  await sendFor({ ...load, clients: 1 }, 100);
  await sendFor(load, WARM_MS);
  const rounds: { latenciesMs: number[]; seconds: number; usedUs: Map<string, number> }[] = [];
  while (rounds.length < ROUNDS) {
    const { result, usedMs } = await withCpu(watched, () => sendFor(load, ROUND_MS));
    const answers = result.latenciesMs.length;
    rounds.push({
      ...result,
      usedUs: new Map(Array.from(usedMs, ([name, ms]) => [name, (ms * 1_000) / answers])),
    });
  }
  return [
    roundsRow(
      what,
      rounds.map((round) => round.latenciesMs.length / round.seconds),
      "req/s",
      marks.perSecond,
    ),
    ...[0.5, 0.99].map((share) =>
      roundsRow(
        `${what}, p${share * 100}`,
        rounds.map((round) => quantile(round.latenciesMs, share)),
        "ms",
        share === 0.99 ? marks.p99 : undefined,
      ),
    ),
    ...Object.keys(watched).map((name) =>
      roundsRow(
        `  processor time of ${name}`,
        rounds.map((round) => round.usedUs.get(name) ?? NaN),
        "us/req",
      ),
    ),
  ];
}

/** The bytes of a request over HTTP/1.1. */
export function requestBytes(
  method: string,
  path: string,
  headers: Record<string, string>,
  body = "",
): Buffer {
  const all = { host: "localhost", ...headers, "content-length": String(Buffer.byteLength(body)) };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${head.join("")}\r\n${body}`);
}

/** Sends requests for `forMs`. @returns the milliseconds until each response */
export async function sendFor(
  load: Load,
  forMs: number,
): Promise<{ latenciesMs: number[]; seconds: number }> {
  const sockets = await Promise.all(Array.from({ length: load.clients }, () => connected(load.port)));
  const startedMs = performance.now();
  try {
    const latencies = await Promise.all(sockets.map((socket) => drive(socket, load, startedMs + forMs)));
    return { latenciesMs: latencies.flat(), seconds: (performance.now() - startedMs) / 1_000 };
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

export async function connected(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true, timeout: ANSWER_MS });
  await once(socket, "connect");
  return socket;
}

/** Sends request after request until `untilMs`. @returns the milliseconds until each response */
function drive(socket: Socket, { request, status }: Load, untilMs: number): Promise<number[]> {
  const { promise, resolve, reject } = Promise.withResolvers<number[]>();
  const latenciesMs: number[] = [];
  let answer = "";
  let sentMs = 0;
  const send = () => {
    answer = "";
    sentMs = performance.now();
    socket.write(request);
  };
  socket.on("data", (bytes) => {
    answer += bytes.toString("latin1");
    if (!isWhole(answer)) return;
    const nowMs = performance.now();
    latenciesMs.push(nowMs - sentMs);
    if (!answer.startsWith(`HTTP/1.1 ${status} `)) reject(new Error(`answered: ${answer}`));
    else if (nowMs < untilMs) send();
    else resolve(latenciesMs);
  });
  socket.once("timeout", () => reject(new Error(`no response within ${ANSWER_MS} ms; so far: ${answer}`)));
  socket.once("close", () => reject(new Error("the connection was closed")));
  socket.once("error", reject);
  send();
  return promise;
}

/** Whether a response has arrived as a whole. The servers under load send Content-Length. */
export function isWhole(answer: string): boolean {
  const head = answer.indexOf("\r\n\r\n");
  if (head < 0) return false;
  const length = /\ncontent-length: (\d+)/i.exec(answer)?.[1];
  return length !== undefined && answer.length >= head + 4 + Number(length);
}
