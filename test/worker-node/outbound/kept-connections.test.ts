import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { guardedFetch } from "../../../worker-node/outbound/guarded-fetch.ts";
import type { GuardedFetch } from "../../../worker-node/outbound/guarded-fetch.ts";
import { KeptConnections } from "../../../worker-node/outbound/kept-connections.ts";
import { send } from "../../../worker-node/outbound/request.ts";
import { portOf } from "../../../worker-node/ops/health-server.ts";
import { until } from "../../services/waiting.ts";

const egress = createEgress("127.0.0.1");
/** The connections of the server, each with the number of requests that it has brought. */
const opened = new Map<Socket, number>();
let respond: (request: IncomingMessage, response: ServerResponse) => void;
const server = createServer((request, response) => {
  opened.set(request.socket, (opened.get(request.socket) ?? 0) + 1);
  respond(request, response);
});
server.keepAliveTimeout = 60_000;

beforeAll(async () => {
  await once(server.listen(0, "127.0.0.1"), "listening");
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  opened.clear();
  respond = (_, response) => response.end("ok");
});

function call(kept: KeptConnections | null, tenant = "acme"): Promise<{ status: number; body: string }> {
  return send(
    {
      url: new URL(`http://127.0.0.1:${portOf(server)}/`),
      method: "GET",
      headers: {},
      body: null,
      timeoutMs: 5_000,
      timeoutCode: "timeout",
      maxResponseBytes: 1_000,
      signal: new AbortController().signal,
      ...(kept && { connections: kept.of(tenant) }),
    },
    egress,
  );
}

test("the next request of a tenant uses the connection of the one before it", async () => {
  const kept = new KeptConnections();
  for (let i = 0; i < 3; i++) expect(await call(kept)).toMatchObject({ status: 200, body: "ok" });
  expect(Array.from(opened.values())).toEqual([3]);
});

test("tenants share no connection, and a request without kept connections has one of its own", async () => {
  const kept = new KeptConnections();
  await call(kept, "acme");
  await call(kept, "umbra");
  await call(null);
  await call(null);
  expect(Array.from(opened.values())).toEqual([1, 1, 1, 1]);
});

// Fails when the error of a kept connection, which the server closes as the request arrives, is that of the request.
test("a request on a kept connection that the server closes is sent again, over a new one", async () => {
  const kept = new KeptConnections();
  await call(kept);
  respond = ({ socket }, response) => {
    if (opened.get(socket) === 2) socket.destroy();
    else response.end("again");
  };
  expect(await call(kept)).toMatchObject({ body: "again" });
  expect(Array.from(opened.values())).toEqual([2, 1]);
});

// Fails when a request is repeated although its response had begun, or although its own connection was new.
test("no other request is sent again", async () => {
  const kept = new KeptConnections();
  respond = ({ socket }) => socket.destroy();
  await expect(call(kept)).rejects.toMatchObject({ code: "unreachable" });
  respond = (_, response) => response.end("ok");
  await call(kept);
  opened.clear();
  respond = ({ socket }, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("half", () => socket.destroy());
  };
  await expect(call(kept)).rejects.toMatchObject({ code: "unreachable" });
  expect(Array.from(opened.values())).toEqual([1]);
});

const read = async (fetch: GuardedFetch["fetch"], mayRepeat: boolean): Promise<string> => {
  const response = await fetch(`http://127.0.0.1:${portOf(server)}/`, {}, { mayRepeat });
  return response.text();
};

// Fails when the server gets a request twice that it may have carried out, or when the next one may fail in the same way.
test("a request that must not be repeated fails with its kept connection, and the next ones have connections of their own", async () => {
  const connections = new KeptConnections().of("acme");
  const { fetch } = guardedFetch({ egress, connections }, 1_000, new AbortController().signal);
  await read(fetch, false);
  respond = ({ socket }) => socket.destroy();
  await expect(read(fetch, false)).rejects.toThrow();
  expect(Array.from(opened.values())).toEqual([2]);
  respond = (_, response) => response.end("ok");
  for (let i = 0; i < 2; i++) expect(await read(fetch, false)).toBe("ok");
  for (let i = 0; i < 2; i++) expect(await read(fetch, true)).toBe("ok");
  expect(Array.from(opened.values())).toEqual([2, 1, 1, 2]);
});

test("at most 128 connections of a tenant stay open without a request", async () => {
  const kept = new KeptConnections();
  const waiting: ServerResponse[] = [];
  respond = (_, response) => waiting.push(response);
  const calls = Array.from({ length: 140 }, () => call(kept));
  await until("all requests arrive", () => waiting.length === 140);
  for (const response of waiting) response.end("ok");
  await Promise.all(calls);
  const open = () => Array.from(opened.keys()).filter((socket) => !socket.destroyed).length;
  await until("the others close", () => open() <= 128);
  expect(open()).toBe(128);
});
