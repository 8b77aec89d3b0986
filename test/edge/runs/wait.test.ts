import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { bodyOf, RUN, runPath, startApp, type TestApp } from "../app.ts";
import { FakeJournalWriter } from "../test-stores.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

let made = 0;
/** Starts a run with this preference; `run` is its id as soon as it is committed. */
function post(prefer: string, headers: Record<string, string> = {}, more: { [field: string]: unknown } = {}) {
  made += 1;
  const correlation_id = `wait-${made}`;
  const answer = app.call("POST", RUN, {
    body: { message: "hi", correlation_id, ...more },
    headers: { prefer, ...headers },
  });
  const find = () => app.stores.sql`select run_id from runs where correlation_id = ${correlation_id}`;
  const run = async (): Promise<string> => {
    await expect.poll(async () => (await find()).length).toBe(1);
    return z.string().parse((await find())[0]?.["run_id"]);
  };
  return { answer, run, find };
}

async function endRun(run: string): Promise<void> {
  const writer = new FakeJournalWriter(app.stores, run);
  await writer.claim();
  await writer.text("Here");
  await writer.end();
}

const applied = (answer: Response) => answer.headers.get("preference-applied");

describe("Prefer: wait=N of a request that starts a run", () => {
  test("is answered with 200 and the result when the run ends in time", async () => {
    const { answer, run } = post("wait=60");
    const id = await run();
    await endRun(id);
    const ended = await answer;
    expect([ended.status, applied(ended)]).toEqual([200, "wait=60"]);
    const body = await bodyOf(ended);
    expect(body).toMatchObject({ run_id: id, status: "completed", output: "ok", final_state: { a: "1" } });
    expect(body).toEqual(await bodyOf(await app.call("GET", runPath(id, "result"))));
  });

  test.each([0, 1])("is answered with the 202 when the run has not ended after %s s", async (seconds) => {
    const { answer, run } = post(`wait=${seconds}`);
    const queued = await answer;
    expect([queued.status, applied(queued)]).toEqual([202, `wait=${seconds}`]);
    expect(await bodyOf(queued)).toMatchObject({ run_id: await run(), status: "queued" });
  });

  test("is answered at once for a run that has ended, which a repeated request names", async () => {
    const key = { "idempotency-key": "wait-once" };
    const first = post("", key, { correlation_id: "once" });
    expect([(await first.answer).status, applied(await first.answer)]).toEqual([202, null]);
    const { run_id } = await bodyOf(await first.answer);
    await endRun(z.string().parse(run_id));
    const repeated = await post("wait=60", key, { correlation_id: "once" }).answer;
    expect([repeated.status, applied(repeated), repeated.headers.get("idempotent-replayed")]).toEqual([
      200,
      "wait=60",
      "true",
    ]);
    expect(await bodyOf(repeated)).toMatchObject({ run_id, status: "completed" });
  });

  // nginx and others close a connection on which nothing comes for 60 s, and the client would get their 504 in place of the run's id.
  test("of 60 s ends after 59", async () => {
    const timeout = vi.spyOn(AbortSignal, "timeout");
    try {
      const { answer, run } = post("wait=60");
      await endRun(await run());
      expect(applied(await answer)).toBe("wait=60");
      expect(Math.max(...timeout.mock.calls.map(([ms]) => ms))).toBe(59_000);
    } finally {
      timeout.mockRestore();
    }
  });

  test("is honoured together with handling=lenient, and in any spelling of a Prefer header", async () => {
    const twoPreferences = await post("handling=lenient, wait=0", {}, { colour: "red" }).answer;
    expect([twoPreferences.status, applied(twoPreferences)]).toEqual([202, "handling=lenient, wait=0"]);
    const spelled = await post('respond-async, Wait = "0"; x=y').answer;
    expect([spelled.status, applied(spelled)]).toEqual([202, "wait=0"]);
  });

  test.each([
    "wait",
    "wait=",
    "wait=61",
    "wait=-1",
    "wait=1.5",
    "wait=soon",
    "wait=1, wait=2",
    "wait=1 0",
    "wait 5",
    "wait=0x1",
    "wait=+1",
  ])("is a 422 that names the header, and starts no run: %s", async (prefer) => {
    const { answer, find } = post(prefer);
    expect([(await answer).status, (await bodyOf(await answer)).errors]).toEqual([
      422,
      [{ path: "Prefer", message: expect.stringContaining("a whole number of seconds from 0 to 60") }],
    ]);
    expect(await find()).toHaveLength(0);
  });

  test("does not change the refusal of a request, and needs a key that may read runs", async () => {
    expect((await post("wait=60", {}, { priority: 99 }).answer).status).toBe(422);
    const key = await app.stores.key("acme", ["runs:write"]);
    const answer = await app.call("POST", RUN, { key, body: {}, headers: { prefer: "wait=60" } });
    expect(answer.status).toBe(403);
  });
});
