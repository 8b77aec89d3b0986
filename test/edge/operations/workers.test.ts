import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { readConfig } from "../../../worker-node/config.ts";
import { openWorkerRedis, type WorkerRedis } from "../../../worker-node/clients/worker-redis.ts";
import { onlineBeat } from "../../shared/store/store-fixture.ts";
import { bodyOf, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker } from "../fake-workers.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const W = "/scale/workers";
const addWorker = async (worker_id: string, changes: object = {}) => {
  const owner = newIncarnation(worker_id);
  await beat(app.stores.sql, { ...onlineBeat(owner), worker_id, ...changes });
  return owner;
};
const name = (incarnation: string) => encodeURIComponent(incarnation);
const silence = (owner: string, seconds: number) =>
  app.stores
    .sql`update workers set beat_at = now() - ${seconds} * interval '1 second' where incarnation = ${owner}`;
/** A worker's connections to Redis, subscribed to its channel. */
async function connect(owner: ReturnType<typeof newIncarnation>): Promise<WorkerRedis> {
  const config = readConfig({
    REDIS_URL: app.stores.service.url,
    SCALE_POSTGRES_URL: app.stores.postgresUrl,
    WORKER_ID: "w",
  });
  const redis = openWorkerRedis(config, owner);
  await expect.poll(() => app.stores.redis.pubsub("NUMSUB", `ctl:${owner}`)).toEqual([`ctl:${owner}`, 1]);
  return redis;
}

// Fails when the list has no bound, or when a page repeats or misses an incarnation.
test.each([W, "/api/v2/workers"])(
  "the list %s has each incarnation once, page by page, and the newest first",
  async (path) => {
    const sameInstant = [await addWorker("p"), await addWorker("p")];
    const newest = await addWorker("p");
    await app.stores.sql`update workers set registered_at = now() + interval '1 hour' where worker_id = 'p'`;
    await app.stores
      .sql`update workers set registered_at = now() + interval '2 hours' where incarnation = ${newest}`;
    const Rows = z.array(z.object({ incarnation: z.string() }));
    const seen: string[] = [];
    for (let next: string | undefined = `${path}?limit=2`; next !== undefined && seen.length < 3;) {
      const answer: Response = await app.call("GET", next);
      const rows = Rows.parse(await answer.json());
      expect(rows.length).toBeLessThanOrEqual(2);
      seen.push(...rows.map(({ incarnation }) => incarnation));
      next = /^<([^>]+)>; rel="next"$/.exec(answer.headers.get("link") ?? "")?.[1];
    }
    expect(seen[0]).toBe(newest);
    expect(seen.slice(0, 3).toSorted()).toEqual([...sameInstant, newest].toSorted());
    const wrong = await app.call("GET", `${path}?cursor=p`);
    const detail = "This cursor does not belong to this list; use the one of the page before.";
    expect([wrong.status, await bodyOf(wrong)]).toMatchObject([400, { code: "bad_cursor", detail }]);
    await app.stores.sql`delete from workers where worker_id = 'p'`;
  },
);

test("the operators' list has the process of each incarnation, and offline after 90 s; a tenant's key does not get it", async () => {
  const old = await addWorker("lister", { pid: 41 });
  await silence(old, 91);
  const alive = await addWorker("lister", { pid: 42 });
  const Rows = z.array(z.looseObject({ incarnation: z.string() }));
  for (const prefix of ["/scale", "/api/scale"]) {
    const rows = Rows.parse(await (await app.call("GET", `${prefix}/workers`)).json());
    const shown = new Map(rows.map((row) => [row.incarnation, row]));
    expect(shown.get(alive)).toMatchObject({
      worker_id: "lister",
      pid: 42,
      hostname: "host",
      status: "online",
    });
    expect(shown.get(old)).toMatchObject({ pid: 41, status: "offline", active_jobs: 0 });
  }
  const key = await app.stores.key("acme");
  for (const [method, path] of [
    ["GET", W],
    ["GET", `${W}/lister/health`],
    ["POST", `${W}/lister/drain`],
    ["DELETE", `${W}/lister`],
  ] as const) {
    expect([path, (await app.call(method, path, { key })).status]).toEqual([path, 403]);
  }
});

describe("the health of a worker", () => {
  test("is the worker's own answer to a question through Redis", async () => {
    const owner = await addWorker("asked");
    const health = { status: "degraded", worker_id: "asked", active_jobs: 3, max_jobs: 10, uptime: 1.5 };
    const stores = { pg_connected: true, redis_connected: true, s3_connected: null };
    const redis = await connect(owner);
    redis.onHealthQuestion(async () => JSON.stringify({ ...health, ...stores }));
    let hints = 0;
    redis.onHint(() => hints++);
    try {
      for (const id of ["asked", name(owner)]) {
        const answer = await bodyOf(await app.call("GET", `${W}/${id}/health`));
        expect(answer).toEqual({
          status: "ok",
          worker_id: "asked",
          incarnation: owner,
          latency_ms: expect.any(Number),
          data: { ...health, ...stores },
        });
      }
      // A question is no hint: it must not make a worker beat.
      expect(hints).toBe(0);
      await app.stores.redis.publish(`ctl:${owner}`, "hint");
      await expect.poll(() => hints).toBe(1);
      // No subscription is left behind.
      await expect.poll(() => app.stores.redis.pubsub("CHANNELS", "answer:*")).toEqual([]);
    } finally {
      redis.close();
    }
  });

  test("is 504 for a worker that does not answer, or is offline, and 404 for an unknown one", async () => {
    await addWorker("mute");
    const offline = await addWorker("offline");
    await silence(offline, 91);
    const answers = await Promise.all(
      ["mute", "offline", "nobody"].map((id) => app.call("GET", `${W}/${id}/health`)),
    );
    expect(answers.map(({ status }) => status)).toEqual([504, 504, 404]);
    const problem = await bodyOf(answers[0] ?? new Response("{}"));
    expect(problem).toMatchObject({ code: "worker_silent", detail: expect.stringContaining("within 3 s") });
  });

  test("is 503 while Redis cannot be reached", async () => {
    await addWorker("unasked");
    const answer = await app.stores.withoutRedis(() => app.call("GET", `${W}/unasked/health`));
    expect([answer.status, (await bodyOf(answer)).code]).toEqual([503, "redis_away"]);
  });
});

describe("a worker that is to drain", () => {
  // Fails when the request is only a message: it would be lost with Redis, or with a connection that breaks.
  test("gets the request with its next beat, which a hint causes; its next incarnation does not get it", async () => {
    const owner = await addWorker("leaver");
    const redis = await connect(owner);
    let hints = 0;
    redis.onHint(() => hints++);
    try {
      const answer = await app.call("POST", `${W}/leaver/drain`);
      expect([answer.status, await bodyOf(answer)]).toEqual([
        202,
        { status: "draining", worker_id: "leaver", incarnations: [owner] },
      ]);
      await expect.poll(() => hints).toBe(1);
      const nextBeat = () => beat(app.stores.sql, { ...onlineBeat(owner), worker_id: "leaver" });
      expect([(await nextBeat()).drain, (await nextBeat()).drain]).toEqual([true, true]);
      const next = newIncarnation("leaver");
      expect((await beat(app.stores.sql, { ...onlineBeat(next), worker_id: "leaver" })).drain).toBe(false);
    } finally {
      redis.close();
    }
  });

  test("gets the request while Redis is away too; for an offline or unknown worker it is refused", async () => {
    const owner = await addWorker("without");
    await app.stores.withoutRedis(async () => {
      expect((await app.call("POST", `${W}/without/drain`)).status).toBe(202);
      await app.settled();
    });
    expect((await beat(app.stores.sql, { ...onlineBeat(owner), worker_id: "without" })).drain).toBe(true);
    await silence(owner, 91);
    expect((await app.call("POST", `${W}/without/drain`)).status).toBe(409);
    expect((await app.call("POST", `${W}/nobody/drain`)).status).toBe(404);
  });
});

describe("a worker that is removed", () => {
  // Fails when the row of a living worker is deleted: its runs would count as abandoned.
  test("must be offline and own no run; a worker that is alive or owns a run stays", async () => {
    const worker = await FakeWorker.claim(app.stores.sql, await startRun(app));
    const path = `${W}/${name(worker.owner)}`;
    expect((await app.call("DELETE", path)).status).toBe(409);
    await silence(worker.owner, 91);
    expect((await app.call("DELETE", path)).status).toBe(409);
    await app.stores.sql`update runs set owner = null, status = 'queued' where run_id = ${worker.run}`;
    const removed = await app.call("DELETE", path);
    expect([removed.status, await bodyOf(removed)]).toEqual([200, { status: "removed", worker_id: "w" }]);
    expect((await app.call("DELETE", path)).status).toBe(404);
  });

  // Fails when the id of a living worker removes the rows of its earlier incarnations, and the answer says that the worker is removed.
  test("by its id loses all its incarnations or none; an incarnation is removed by its own name", async () => {
    const [first, second] = [await addWorker("again"), await addWorker("again")];
    for (const owner of [first, second]) await silence(owner, 91);
    const alive = await addWorker("again");
    const rows = async () => {
      const left = await app.stores.sql<
        { incarnation: string }[]
      >`select incarnation from workers where worker_id = 'again'`;
      return left.map(({ incarnation }) => incarnation).toSorted();
    };
    const refused = await app.call("DELETE", `${W}/again`);
    expect([refused.status, await bodyOf(refused)]).toMatchObject([409, { code: "conflict" }]);
    expect(await rows()).toEqual([first, second, alive].toSorted());
    expect((await app.call("DELETE", `${W}/${name(first)}`)).status).toBe(200);
    expect(await rows()).toEqual([second, alive].toSorted());
    await silence(alive, 91);
    expect((await app.call("DELETE", `${W}/again`)).status).toBe(200);
    expect(await rows()).toEqual([]);
  });
});
