/** An upload that was given up while its client sends it: the edge reads that in the upload's row, every 30 s. */
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { until } from "../services/waiting.ts";
import { startEdge, type Edge } from "./edge.ts";

const MIB = 1024 * 1024;

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());

// Fails when the reason for which the edge stops is answered as a body that ended early.
test("is a 408 at its next part after that", async () => {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent = request(`${edge.base}/api/v2/uploads?tenant_id=slow`, {
    method: "POST",
    headers: { authorization: `Bearer ${edge.platformKey}`, "content-length": String(200 * MIB) },
  });
  sent.on("error", reject).on("response", resolve);
  let isAnswered = false;
  const answer = promise.finally(() => (isAnswered = true));
  const send = () => void (sent.writableNeedDrain || sent.write("x".repeat(MIB / 4)));
  send();
  await until("the upload has begun and is given up", async () => {
    const rows = await edge.stores.sql`
      delete from uploads where tenant_id = 'slow' and stored_at is null returning upload_id`;
    return rows.length > 0;
  });
  await until("its next part is answered", () => (send(), isAnswered));
  const { statusCode } = await answer;
  expect([statusCode, await text(await answer)]).toEqual([408, expect.stringContaining("send it again")]);
  sent.destroy();
});
