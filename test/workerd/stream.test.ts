import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Scribe } from "../edge/world.ts";
import { startEdge, type Edge } from "./edge.ts";
import { Viewer } from "./sse.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());

const watch = (run: string, headers: Record<string, string> = {}) =>
  Viewer.open(`${edge.base}/api/v2/orchestrations/runs/${run}/stream`, {
    authorization: `Bearer ${edge.platformKey}`,
    ...headers,
  });

const seqs = (viewer: Viewer) => viewer.frames.map((frame) => frame.data.seq);

describe("a run's stream, in workerd", () => {
  test("begins with retry, tells what was and what comes, and ends after done", async () => {
    const run = await edge.start();
    const scribe = new Scribe(edge.world, run);
    await scribe.claim();
    await scribe.text("before");
    const viewer = await watch(run);
    await viewer.until((v) => v.frames.length === 1);
    await scribe.text("live");
    await viewer.until((v) => v.frames.length === 2);
    await scribe.end();
    await viewer.end();
    expect(viewer.text.startsWith("retry: 1000\n\n")).toBe(true);
    expect(seqs(viewer)).toEqual([1, 2, 3, 4]);
    expect(viewer.frames.map((frame) => frame.id)).toEqual([1, 2, 3, 4].map((n) => `${run.slice(-13)}-${n}`));
    expect(viewer.frames.at(-1)?.data.type).toBe("done");
  });

  test("goes on after Last-Event-ID, with the same bytes, also when the run has ended", async () => {
    const run = await edge.start();
    const scribe = new Scribe(edge.world, run);
    await scribe.claim();
    const whole = await watch(run);
    for (const text of ["a", "b", "c"]) await scribe.text(text);
    await scribe.end();
    await whole.end();
    const late = await watch(run, { "last-event-id": whole.frames[1]?.id ?? "" });
    await late.end();
    expect(late.frames).toEqual(whole.frames.slice(2));
    const last = whole.frames.at(-1)?.id ?? "";
    expect((await watch(run, { "last-event-id": last })).status).toBe(204);
  });
});
