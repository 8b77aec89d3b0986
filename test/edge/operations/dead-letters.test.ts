import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { untilLockWait } from "../../services/waiting.ts";
import { FAILED_AT, FakeWorker, failRun } from "../fake-workers.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const DLQ = "/scale/dlq";
const Letters = z.array(z.looseObject({ id: z.string(), run_id: z.string() }));
const deadLetter = async (tenant_id: string) => {
  const { run, seq } = await failRun(
    app.stores.sql,
    await startRun(app, { body: { message: "hi", tenant_id } }),
  );
  return { run, id: `${run}.${seq}` };
};
const listed = async (query: string, key?: string) =>
  Letters.parse(await (await app.call("GET", `${DLQ}?${query}`, key === undefined ? {} : { key })).json());

test("a failed run has a dead letter with its error, its stack and its input", async () => {
  const { run, id } = await deadLetter("one");
  const [letter, ...rest] = await listed("tenant_id=one");
  expect(rest).toEqual([]);
  const known = {
    id,
    run_id: run,
    tenant_id: "one",
    orchestration_id: "orch_smoke",
    code: "boom",
    error_message: "it broke",
    step_id: "two",
    attempt_count: 3,
    run_attempt: 1,
    first_failed_at: expect.stringMatching(/Z$/),
    last_failed_at: expect.stringMatching(/Z$/),
  };
  expect(letter).toEqual(known);
  for (const prefix of ["/scale", "/api/scale"]) {
    const detail = await bodyOf(await app.call("GET", `${prefix}/dlq/${id}`));
    expect(detail).toEqual({
      ...known,
      stack: FAILED_AT,
      payload: { message: "hi", state: {} },
      resolved_at: null,
      how_to_retry: expect.stringContaining(`POST ${prefix}/dlq/${id}/retry`),
    });
  }
});

// Fails when a letter is shown as it was stored: earlier versions stored the texts of what was thrown.
test("a letter of an earlier version shows places and no texts", async () => {
  const { run, id } = await deadLetter("old");
  const stack = [
    "TerminalError: openai/gpt: refused",
    "    at call (file:///srv/app/worker-node/models/remote-model.ts:3:7)",
    "caused by AI_APICallError: Incorrect API key sk-live-1234 at https://10.1.2.3/v1",
    "sk-live-1234",
    "    at post (/srv/app/node_modules/x/index.js:3:7)",
    "    at walk (worker-node/execution/walk.ts:71:21)",
  ].join("\n");
  await app.stores.sql`update dead_letters set stack = ${stack} where run_id = ${run}`;
  const { stack: shown } = await bodyOf(await app.call("GET", `${DLQ}/${id}`));
  expect(shown).toBe("    at walk (worker-node/execution/walk.ts:71:21)");
});

describe("the list", () => {
  test("is paged, newest first, without a gap and without a duplicate", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push((await deadLetter("paged")).id);
    const seen: string[] = [];
    let url: string | undefined = `${DLQ}?tenant_id=paged&limit=2`;
    while (url !== undefined) {
      const page: Response = await app.call("GET", url);
      seen.push(...Letters.parse(await page.json()).map((letter) => letter.id));
      url = /<(.*)>; rel="next"/.exec(page.headers.get("link") ?? "")?.[1];
    }
    expect(seen).toEqual(ids.toReversed());
  });

  test("is filtered by tenant, orchestration and code", async () => {
    const { id } = await deadLetter("filtered");
    await deadLetter("filtered-not");
    const ids = async (query: string) => (await listed(query)).map((letter) => letter.id);
    expect(await ids("tenant_id=filtered")).toEqual([id]);
    expect(await ids("tenant_id=filtered&orchestration_id=orch_smoke&code=boom")).toEqual([id]);
    expect(await ids("tenant_id=filtered&code=other")).toEqual([]);
    expect(await ids("tenant_id=filtered&orchestration_id=other")).toEqual([]);
  });

  test("refuses a cursor of another list, and a limit above 200", async () => {
    const answer = await app.call("GET", `${DLQ}?cursor=nonsense`);
    expect([answer.status, (await bodyOf(answer)).code]).toEqual([400, "bad_cursor"]);
    expect((await app.call("GET", `${DLQ}?limit=201`)).status).toBe(422);
  });
});

describe("a retry", () => {
  test("queues the run again and removes the dead letter from the list; a second retry is 409", async () => {
    const { run, id } = await deadLetter("retried");
    const answer = await app.call("POST", `${DLQ}/${id}/retry`);
    expect([answer.status, await bodyOf(answer)]).toMatchObject([202, { run_id: run, status: "queued" }]);
    expect(await bodyOf(await app.call("GET", runPath(run, "status")))).toMatchObject({ status: "queued" });
    expect(await listed("tenant_id=retried")).toEqual([]);
    expect(await bodyOf(await app.call("GET", `${DLQ}/${id}`))).toMatchObject({
      resolved_at: expect.stringMatching(/Z$/),
    });
    expect((await app.call("POST", `${DLQ}/${id}/retry`)).status).toBe(409);
    // After the next failure there is one dead letter, with a new id.
    const worker = await FakeWorker.claim(app.stores.sql, run);
    await worker.end("failed");
    expect((await listed("tenant_id=retried")).map((letter) => letter.id)).toEqual([`${run}.${worker.seq}`]);
  });

  // Fails when the letter is read before the statement that queues the run: both requests would succeed.
  test("of a dead letter that is dismissed at the same moment is 409, and the run stays failed", async () => {
    const { sql } = app.stores;
    const { run, id } = await deadLetter("dismissed-meanwhile");
    let retrying: Promise<Response> | undefined;
    await sql.begin(async (tx) => {
      await tx`update dead_letters set resolved_at = now() where run_id = ${run}`;
      retrying = app.call("POST", `${DLQ}/${id}/retry`);
      await untilLockWait(sql);
    });
    expect((await retrying)?.status).toBe(409);
    expect(await bodyOf(await app.call("GET", runPath(run, "status")))).toMatchObject({ status: "failed" });
  });

  // Fails when it locks the letter before the run: a retry of the run, and retention, lock the run first, and one of the two ends in a deadlock.
  test("of a dead letter whose run is retried at the same moment is 409, and no deadlock", async () => {
    const { sql } = app.stores;
    const { run, id } = await deadLetter("retried-meanwhile");
    let retrying: Promise<Response> | undefined;
    await sql.begin(async (tx) => {
      await tx`select from runs where run_id = ${run} for update`;
      retrying = app.call("POST", `${DLQ}/${id}/retry`);
      await untilLockWait(sql);
      await tx`update dead_letters set resolved_at = now() where run_id = ${run}`;
    });
    expect((await retrying)?.status).toBe(409);
  });

  test("of many takes a filter, or `all: true`; each run has its own result", async () => {
    const runs = [await deadLetter("bulk"), await deadLetter("bulk")].map(({ run }) => run);
    const post = (body: unknown) => app.call("POST", `${DLQ}/retry`, { body });
    expect((await post({})).status).toBe(422);
    expect(await bodyOf(await post({ tenant_id: "bulk", dry_run: true }))).toMatchObject({ matched: 2 });
    const pages = await bodyOf(await post({ tenant_id: "bulk", limit: 1, code: "other" }));
    expect(pages).toMatchObject({ matched: 0, results: [], next_cursor: null });
    await app.settled();
    const tenant = TenantId.parse("bulk");
    await app.stores.queue.finish(
      runs.map((run) => ({ run, tenant })),
      "",
    );
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "bulk", max_queued_runs: 1 } });
    const first = await bodyOf(await post({ tenant_id: "bulk", limit: 1 }));
    expect(first).toMatchObject({ matched: 1, results: [{ run_id: runs[1], status: "queued" }] });
    const second = await bodyOf(await post({ tenant_id: "bulk", cursor: first.next_cursor }));
    expect(second).toMatchObject({
      matched: 1,
      results: [{ run_id: runs[0], code: "queue_full" }],
      next_cursor: null,
    });
    expect((await listed("tenant_id=bulk")).map((letter) => letter.run_id)).toEqual([runs[0]]);
    expect((await post({ all: true, dry_run: true })).status).toBe(200);
  });
});

test("a dismissed dead letter leaves the list, and its run can still be retried", async () => {
  const { run, id } = await deadLetter("away");
  expect((await app.call("DELETE", `${DLQ}/${id}`)).status).toBe(204);
  expect((await app.call("DELETE", `${DLQ}/${id}`)).status).toBe(404);
  expect(await listed("tenant_id=away")).toEqual([]);
  expect((await app.call("POST", runPath(run, "retry"))).status).toBe(202);
});

test("another tenant's dead letter does not exist, and only an admin's key reads any", async () => {
  const { id } = await deadLetter("owner");
  const stranger = await app.stores.key("stranger");
  expect(await listed("", stranger)).toEqual([]);
  expect((await app.call("GET", `${DLQ}?tenant_id=owner`, { key: stranger })).status).toBe(403);
  for (const [method, path] of [
    ["GET", `${DLQ}/${id}`],
    ["POST", `${DLQ}/${id}/retry`],
    ["DELETE", `${DLQ}/${id}`],
  ] as const) {
    expect((await app.call(method, path, { key: stranger })).status).toBe(404);
    expect(
      (await app.call(method, path, { key: await app.stores.key("owner", ["runs:write"]) })).status,
    ).toBe(403);
  }
  expect((await app.call("GET", `${DLQ}/nonsense`)).status).toBe(404);
  expect((await listed("", await app.stores.key("owner"))).map((letter) => letter.id)).toEqual([id]);
});
