/** One tenant's viewers leave seats to other tenants, and a revoked key's streams end. */
import { z } from "zod";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { FakeJournalWriter } from "../edge/test-stores.ts";
import { Viewer } from "../services/viewer.ts";
import { startEdge, type Edge } from "./edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());

const StreamToken = z.object({ token: z.string(), stream_url: z.string() });
const FEED = "/api/v2/events/stream";
const path = (run: string, rest = "stream") => `/api/v2/orchestrations/runs/${run}/${rest}`;
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
const watch = (run: string) => Viewer.open(edge.base + path(run), bearer(edge.platformKey));
const seqs = (viewer: Viewer) => viewer.frames.map((frame) => frame.data.seq);

async function running(tenant_id = "quiet"): Promise<FakeJournalWriter> {
  const scribe = new FakeJournalWriter(edge.stores, await edge.start({ tenant_id }));
  await scribe.claim();
  return scribe;
}

describe("a key that is revoked", () => {
  test("ends its open streams and those of its stream tokens, and opens none", async () => {
    const key = await edge.stores.key("acme");
    const other = await edge.stores.key("acme");
    const [runA, runB] = [await running("acme"), await running("acme")];
    const made = await edge.call("POST", path(runA.run, "stream-token"), { key });
    const { stream_url, token } = StreamToken.parse(await made.json());
    const several = `${edge.base}${FEED}?runs=${runA.run},${runB.run}`;
    const opened = [
      await Viewer.open(edge.base + path(runA.run), bearer(key)),
      await Viewer.open(several, bearer(key)),
      await Viewer.open(edge.base + stream_url),
      await Viewer.open(`${edge.base}${FEED}?runs=${runA.run}&token=${token}`),
    ];
    const stays = await Viewer.open(edge.base + path(runA.run), bearer(other));
    await runA.text("before");
    await Promise.all([...opened, stays].map((viewer) => viewer.until((v) => v.frames.length === 1)));
    await edge.stores.sql`
      update api_keys set revoked_at = now() where key_hash = sha256(convert_to(${key}, 'utf8'))`;
    await Promise.all(opened.map((viewer) => viewer.end()));
    expect((await fetch(edge.base + stream_url)).status).toBe(401);
    await runA.end();
    await stays.end();
    expect(seqs(stays)).toEqual([1, 2, 3]);
  });
});

describe("the viewers of one tenant", () => {
  test("do not take the seats of others: beyond their share they get 429 with Retry-After", async () => {
    const key = await edge.stores.key("greedy");
    const runs = await Promise.all(Array.from({ length: 20 }, () => edge.start({ tenant_id: "greedy" })));
    const several = `${FEED}?runs=${runs.join(",")}`;
    const opened: Response[] = [];
    for (let i = 0; i < 100; i++) {
      const answer = await edge.call("GET", several, { key });
      opened.push(answer);
      if (answer.status !== 200) break;
    }
    const refused = opened.at(-1);
    expect([refused?.status, refused?.headers.get("retry-after")]).toEqual([429, "10"]);
    expect(await refused?.json()).toMatchObject({ code: "too_many_streams" });
    const scribe = await running();
    const quiet = await watch(scribe.run);
    await scribe.text("hello");
    await quiet.until((v) => v.frames.length === 1);
    quiet.leave();
    // A part that was seated before another part was refused has given its seat back: closing one stream is enough.
    await opened[0]?.body?.cancel();
    await vi.waitFor(
      async () => {
        const stream = await edge.call("GET", several, { key });
        await stream.body?.cancel();
        expect(stream.status).toBe(200);
        // The edge may notice only at the next write, a keepalive, that a viewer has left.
      },
      { timeout: 100_000, interval: 500 },
    );
    for (const answer of opened.slice(1)) await answer.body?.cancel().catch(() => {});
  });
});
