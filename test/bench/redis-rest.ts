import { randomBytes } from "node:crypto";
import type { Redis } from "ioredis";
import { z } from "zod";
import { nodeProgram, startUntilEvent } from "../../local/processes/programs.ts";
import { buildPrograms } from "../../local/programs/build.ts";
import { startRedisRest } from "../../local/stores/redis-rest.ts";
import { freePort } from "../../local/processes/free-ports.ts";
import type { Service } from "../../local/processes/child.ts";
import { cpuMs, treeCpuMs } from "./cpu.ts";
import { loadRows, requestBytes } from "./load.ts";
import type { Row } from "./stats.ts";

const CLIENTS = 50;
const KEY = "bench:value";

/** GETs per second through the REST front, beside Node's HTTP server that sends the same response without a Redis. */
export async function benchRedisRest(redis: Redis, service: Service): Promise<Row[]> {
  await redis.set(KEY, "value");
  const token = randomBytes(16).toString("hex");
  const request = requestBytes(
    "POST",
    "/",
    { authorization: `Bearer ${token}` },
    JSON.stringify(["GET", KEY]),
  );
  const bare = await startUntilEvent("bare.listening", "bare", nodeProgram("test/bench/bare-http.ts"));
  await buildPrograms();
  const front = await startRedisRest(service.url, token, await freePort(0));
  const load = { clients: CLIENTS, request, status: 200 };
  try {
    const { port } = z.looseObject({ port: z.number() }).parse(bare.event);
    return [
      ...(await loadRows(
        `floor: bare node:http, ${CLIENTS} clients`,
        { ...load, port },
        {
          "node:http": () => cpuMs(bare.child.pid ?? 0),
        },
      )),
      ...(await loadRows(
        `GET through redis-rest, ${CLIENTS} clients`,
        { ...load, port: front.port },
        {
          "redis-rest": () => cpuMs(front.pid ?? 0),
          Redis: () => treeCpuMs(service.pid ?? 0),
        },
        { perSecond: ">= 10000" },
      )),
    ];
  } finally {
    await Promise.all([bare.stop(), front.stop()]);
    await redis.del(KEY);
  }
}
