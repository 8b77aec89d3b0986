/** Access to a stream, and its first event, for clients that cannot set headers. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { FakeJournalWriter } from "../test-stores.ts";
import { Viewer } from "../../services/viewer.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const SEVERAL = "/api/v2/events/stream";

/** A run of three events that has ended. */
async function endedRun(): Promise<FakeJournalWriter> {
  const writer = new FakeJournalWriter(app.stores, await startRun(app));
  await writer.claim();
  await writer.text("a");
  await writer.end();
  return writer;
}

async function tokenOf(run: string): Promise<string> {
  const made = await app.call("POST", runPath(run, "stream-token"));
  return z.string().parse((await bodyOf(made)).token);
}

async function seen(path: string, key: string | null = null): Promise<[number, unknown[]]> {
  const viewer = new Viewer(await app.call("GET", path, { key }));
  await viewer.end();
  return [viewer.status, viewer.frames.map(({ data }) => data.seq)];
}

describe("a position in the query", () => {
  test.each(["last_event_id", "lastEventId", "lastEventID", "last-event-id", "Last-Event-ID"])(
    "is understood as %s, on the streams of one run and of several",
    async (name) => {
      const { run } = await endedRun();
      const id = `${run.slice(-13)}-2`;
      expect(await seen(`${runPath(run, "stream")}?${name}=${id}`, app.platformKey)).toEqual([200, [3]]);
      expect(await seen(`${SEVERAL}?runs=${run}&${name}=${id}`, app.platformKey)).toEqual([200, [3]]);
      const atEnd = `${runPath(run, "stream")}?${name}=${run.slice(-13)}-3`;
      expect((await app.call("GET", atEnd)).status).toBe(204);
      expect((await app.call("GET", `${SEVERAL}?${name}=abc`)).status).toBe(400);
    },
  );

  test("that a client appends on a reconnect replaces the first one, and a position in the header replaces both", async () => {
    const { run } = await endedRun();
    const base = run.slice(-13);
    const path = `${runPath(run, "stream")}?last_event_id=${base}-1&lastEventId=${base}-2`;
    expect(await seen(path, app.platformKey)).toEqual([200, [3]]);
    const answer = await app.call("GET", path, { headers: { "last-event-id": `${base}-0` } });
    const viewer = new Viewer(answer);
    await viewer.end();
    expect(viewer.frames).toHaveLength(3);
  });

  // Fails when the whole run is sent again, at each reconnect, to a client whose library sends an empty header or parameter.
  test("counts also beside an empty position", async () => {
    const { run } = await endedRun();
    const id = `${run.slice(-13)}-2`;
    const path = runPath(run, "stream");
    expect(await seen(`${path}?lastEventId=&last_event_id=${id}`, app.platformKey)).toEqual([200, [3]]);
    const answer = await app.call("GET", `${path}?last_event_id=${id}`, { headers: { "last-event-id": "" } });
    const viewer = new Viewer(answer);
    await viewer.end();
    expect(viewer.frames).toHaveLength(1);
  });
});

describe("a stream of several runs", () => {
  // Fails when `tenant_id` is accepted and ignored.
  test("has runs of `tenant_id` alone, and its refusal names a run of another tenant", async () => {
    const [{ run }, key] = [await endedRun(), await app.stores.key("acme")];
    const path = `${SEVERAL}?runs=${run}`;
    expect(await seen(`${path}&tenant_id=default`, app.platformKey)).toEqual([200, [1, 2, 3]]);
    expect(await seen(`${path}&tenant_id=default&token=${await tokenOf(run)}`)).toEqual([200, [1, 2, 3]]);
    const absent = [404, `There is no run ${run}.`];
    const refusal = async (url: string, bearer: string | null) => {
      const answer = await app.call("GET", url, { key: bearer });
      return [answer.status, (await bodyOf(answer)).detail];
    };
    expect(await refusal(`${path}&tenant_id=acme`, app.platformKey)).toEqual(absent);
    expect(await refusal(`${path}&tenant_id=acme&token=${await tokenOf(run)}`, null)).toEqual(absent);
    expect(await refusal(path, key)).toEqual(absent);
    expect((await app.call("GET", `${path}&tenant_id=default`, { key })).status).toBe(403);
  });

  test("takes a list with spaces after its commas", async () => {
    const [first, second] = [await endedRun(), await endedRun()];
    const [status, events] = await seen(`${SEVERAL}?runs=${first.run},%20${second.run}`, app.platformKey);
    expect([status, events.length]).toEqual([200, 6]);
  });
});

test("the refusal of a stream token that is sent as an API key says what the token opens", async () => {
  const token = await tokenOf((await endedRun()).run);
  const detail =
    "This is a stream token, and no API key: it opens the streams of its run or session, as ?token= in their URL.";
  for (const answer of [
    await app.call("GET", "/api/v2/agents", { key: token }),
    await app.call("GET", `${SEVERAL}?token=${token}`, { key: null }),
  ]) {
    expect([answer.status, (await bodyOf(answer)).detail]).toEqual([401, detail]);
  }
});

// RFC 9110, 11.4: one space or more.
test("an API key may have several spaces before it", async () => {
  const headers = { authorization: `bearer   ${app.platformKey}` };
  expect((await app.call("GET", "/api/v2/agents", { key: null, headers })).status).toBe(200);
});

describe("stream tokens", () => {
  test("open a stream of all their runs, in any order, as one parameter or several", async () => {
    const [runA, runB] = [(await endedRun()).run, (await endedRun()).run];
    const tokens = [await tokenOf(runA), await tokenOf(runB)];
    for (const query of [
      `token=${tokens.join(",")}`,
      `token=${tokens.toReversed().join(",")}`,
      `token=${tokens.join("&token=")}`,
    ]) {
      const [status, seqs] = await seen(`${SEVERAL}?runs=${runA},${runB}&${query}`);
      expect([status, seqs.map(Number).toSorted((a, b) => a - b)]).toEqual([200, [1, 1, 2, 2, 3, 3]]);
    }
  });

  test("open no run that has no token among them, no feed, and nothing when one of them is forged", async () => {
    const [runA, runB] = [(await endedRun()).run, (await endedRun()).run];
    const [first, second] = [await tokenOf(runA), await tokenOf(runB)];
    const status = async (query: string) =>
      (await app.call("GET", `${SEVERAL}?${query}`, { key: null })).status;
    expect(await status(`runs=${runA},${runB}&token=${first}`)).toBe(404);
    expect(await status(`runs=${runB}&token=${first}`)).toBe(404);
    expect(await status(`token=${first}`)).toBe(401);
    expect(await status(`runs=${runA}&token=${first},${second}0`)).toBe(401);
    expect(await status(`runs=${runA}`)).toBe(401);
  });
});
