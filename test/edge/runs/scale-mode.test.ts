import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import { bodyOf, RUN, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker } from "../fake-workers.ts";
import { FakeJournalWriter } from "../test-stores.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const switchTo = async (SCALE_MODE: boolean) => {
  const answer = await app.call("PATCH", "/scale/config", { body: { SCALE_MODE } });
  expect(answer.status).toBe(200);
};

/** Adds a worker that has just beaten: it is online for some seconds. */
const workerOnline = () => app.stores.sql`
  insert into workers (incarnation, worker_id, hostname, address, lanes, slots, status, beat_at)
  values (${newIncarnation("w")}, 'w', 'h', 'a', string_to_array(${Lane.options.join(",")}, ','), 1, 'online', now() + interval '1 hour')`;

let made = 0;
async function post(more: object = {}) {
  const correlation_id = `held-${++made}`;
  const answer = app.call("POST", RUN, { body: { message: "hi", correlation_id, ...more } });
  const find = () => app.stores.sql`select run_id from runs where correlation_id = ${correlation_id}`;
  await expect.poll(async () => (await find()).length).toBe(1);
  return { answer, run: z.string().parse((await find())[0]?.["run_id"]) };
}

const Held = z.looseObject({
  run_id: z.string(),
  status: z.string(),
  events: z.array(z.looseObject({ type: z.string(), seq: z.number() })),
});
const resultOf = async (answer: Response) => Held.parse(await answer.json());

describe("with scale mode off", () => {
  beforeEach(async () => {
    await app.stores.sql`delete from workers`;
    await switchTo(false);
  });

  test("a start is refused at once while no worker would take it, and no run exists", async () => {
    const answer = await app.call("POST", RUN, { body: { message: "hi", correlation_id: "none" } });
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "5"]);
    expect(await bodyOf(answer)).toMatchObject({ code: "no_worker" });
    expect(await app.stores.sql`select from runs where correlation_id = 'none'`).toHaveLength(0);
  });

  test("a start is answered when its run has ended, with the result and all its events", async () => {
    await workerOnline();
    const { answer, run } = await post();
    const writer = new FakeJournalWriter(app.stores, run);
    await writer.claim();
    for (let i = 0; i < 450; i++) await writer.text(`word ${i}`);
    await writer.end();
    const held = await answer;
    expect([held.status, held.headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(held.headers.get("x-request-id")).not.toBeNull();
    // Without them nginx, or HAProxy while it compresses, keeps the white space back, and what is in front of them ends the silent connection.
    expect(held.headers.get("x-accel-buffering")).toBe("no");
    expect(held.headers.get("cache-control")).toBe("no-store, no-transform");
    const body = await resultOf(held);
    expect(body).toMatchObject({ run_id: run, status: "completed", output: "ok" });
    expect(body.events.map(({ seq }) => seq)).toEqual(body.events.map((_, i) => i + 1));
    expect(body.events.at(-1)).toMatchObject({ type: "done" });
    const result = await bodyOf(await app.call("GET", runPath(run, "result")));
    expect(body).toEqual({ ...result, events: body.events });
  });

  test("white space every 15 s keeps the response of a long run open, longer than Prefer may wait", async () => {
    await workerOnline();
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    try {
      const { answer, run } = await post();
      const held = await answer;
      vi.advanceTimersByTime(75_000);
      vi.useRealTimers();
      const writer = new FakeJournalWriter(app.stores, run);
      await writer.claim();
      await writer.end();
      const text = await held.text();
      expect(text).toMatch(/^ {5}\{/);
      expect(Held.parse(JSON.parse(text)).status).toBe("completed");
    } finally {
      vi.useRealTimers();
    }
  });

  test("a run that waits for a person holds its request until it has been answered and has ended", async () => {
    await workerOnline();
    const { answer, run } = await post();
    const held = await answer;
    const body = resultOf(held);
    let isOver = false;
    void body.then(() => (isOver = true));
    const worker = await FakeWorker.claim(app.stores.sql, run);
    await worker.write({
      kind: "park",
      events: JSON.stringify({ type: "human_input_required", ts: new Date().toISOString() }),
      step_path: "ask",
      output: JSON.stringify({ step: "ask", visit: 1, reason: "answer", wait_id: "ask:1" }),
      status: "paused",
      wake_ms: 60_000,
      waits: [
        {
          wait_id: "ask:1",
          step_id: "ask",
          kind: "human",
          prompt: "Publish?",
          fields: JSON.stringify([{ key: "ok", label: "OK", type: "text", options: null, required: false }]),
          deadline_ms: 60_000,
          child_run_id: null,
        },
      ],
    });
    expect((await bodyOf(await app.call("GET", runPath(run, "status")))).status).toBe("paused");
    expect(isOver).toBe(false);
    const resumed = await app.call("POST", runPath(run, "resume"), { body: { response: { ok: "yes" } } });
    expect(resumed.status).toBe(202);
    expect((await app.call("POST", runPath(run, "cancel"))).status).toBe(200);
    expect((await body).status).toBe("cancelled");
  });

  test("a start whose run is cancelled is answered with 200 and the status cancelled", async () => {
    await workerOnline();
    const { answer, run } = await post();
    await app.call("POST", runPath(run, "cancel"));
    const held = await answer;
    expect(held.status).toBe(200);
    expect((await resultOf(held)).status).toBe("cancelled");
  });

  test("a key that may not read runs is refused before the run exists", async () => {
    const key = await app.stores.key("acme", ["runs:write"]);
    expect((await app.call("POST", RUN, { key, body: { message: "hi" } })).status).toBe(403);
  });

  test("earlier runs continue, and a start is a 202 again once scale mode is on", async () => {
    await workerOnline();
    const { answer, run } = await post();
    await switchTo(true);
    const queued = await startRun(app);
    expect(queued).not.toBe(run);
    const writer = new FakeJournalWriter(app.stores, run);
    await writer.claim();
    await writer.end();
    expect((await resultOf(await answer)).status).toBe("completed");
  });
});
