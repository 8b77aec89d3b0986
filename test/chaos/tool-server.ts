/** A tool that counts its calls by key, and sometimes refuses, fails, responds late, or never responds. */
import { setTimeout as sleep } from "node:timers/promises";
import { serveCounted } from "./counted-server.ts";
import type { Counted } from "./counted-server.ts";
import type { Random } from "./random.ts";

export function startToolServer(random: Random): Promise<Counted> {
  return serveCounted(async (request, _body, response) => {
    if (!request.calm && random.chance(0.06)) {
      response.writeHead(429, { "content-type": "application/json" }).end(`{"error":"busy"}`);
      return "refused";
    }
    if (!request.calm && random.chance(0.04)) {
      // It may have carried out the call, which keeps its key: docs/protocol.md 12.
      response.writeHead(503, { "content-type": "application/json" }).end(`{"error":"failed"}`);
      return "cut";
    }
    if (!request.calm && random.chance(0.04)) {
      // No response for 2 s, and then the connection closes.
      await sleep(2_000);
      response.destroy();
      return "cut";
    }
    await sleep(request.calm ? 5 : random.between(5, 300));
    response.writeHead(200, { "content-type": "application/json" }).end(`{"noted":true}`);
    return "answered";
  });
}
