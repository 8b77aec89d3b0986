import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunInput } from "../../../shared/contracts/run.ts";
import { acceptRuns, findIdempotent } from "../../../shared/store/runs/accept-runs.ts";
import { readInput } from "../../../shared/store/runs/claim-runs.ts";
import { readPositions, readRun } from "../../../shared/store/runs/read-runs.ts";
import { acme, saveEmptyOrchestration, globex, openStore } from "./store-fixture.ts";
import { newRun } from "../../services/new-run.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

describe("an accepted run", () => {
  test("is pinned to the newest version of its tenant's own definition, else of the shared one", async () => {
    await saveEmptyOrchestration(store.sql, "", "both");
    await saveEmptyOrchestration(store.sql, "", "both");
    await saveEmptyOrchestration(store.sql, acme, "both");
    const own = await store.accept({ orchestration_id: "both" });
    const shared = await store.accept({ orchestration_id: "both", tenant_id: globex });
    expect(await store.row(own)).toMatchObject({ definition_tenant: "acme", definition_version: 1 });
    expect(await store.row(shared)).toMatchObject({ definition_tenant: "", definition_version: 2 });
  });

  test("is queued, due at once, and without an owner", async () => {
    const run = await store.accept();
    expect(await store.row(run)).toMatchObject({
      status: "queued",
      attempt: 0,
      owner: null,
      event_seq: 0,
      ended_at: null,
    });
    const [due] = await store.sql`select wake_at <= now() as now from runs where run_id = ${run}`;
    expect(due?.now).toBe(true);
  });

  test("with a delay is due after it", async () => {
    const run = await store.accept({ delay_ms: 90_000 });
    const [row] =
      await store.sql`select extract(epoch from wake_at - queued_at)::float8 as s from runs where run_id = ${run}`;
    expect(row?.s).toBeCloseTo(90, 1);
  });

  // Fails when the input is jsonb, or is parsed as JSON on its way.
  test("keeps every text that JSON can hold, also a large one", async () => {
    for (const message of [
      "a\u0000b",
      "lone \ud800 surrogate",
      `q"\\u0000\\n\n\t{},NULL`,
      "x".repeat(1024 * 1024),
      "",
    ]) {
      const input = JSON.stringify({ message, state: { key: message } });
      const run = await store.accept({ input });
      const stored = await readInput(store.sql, run);
      expect(RunInput.parse(JSON.parse(stored ?? "")).message === message).toBe(true);
    }
  });

  test("of a tenant does not exist for another", async () => {
    const run = await store.accept();
    expect(await readRun(store.sql, globex, run)).toBeNull();
    expect(await readRun(store.sql, null, run)).toMatchObject({ run_id: run, tenant_id: "acme" });
  });
});

describe("a run that is not accepted", () => {
  test("has a definition that does not exist, is deleted, or is another tenant's; the rest of its batch is accepted", async () => {
    await saveEmptyOrchestration(store.sql, globex, "theirs");
    await saveEmptyOrchestration(store.sql, acme, "gone");
    await store.sql`update orchestrations set deleted_at = now() where id = 'gone'`;
    const acceptable = newRun();
    const refused = ["nowhere", "theirs", "gone"].map((orchestration_id) => newRun({ orchestration_id }));
    const accepted = await acceptRuns(store.sql, [acceptable, ...refused]);
    expect([...accepted.keys()]).toEqual([acceptable.run_id]);
    expect(
      (
        await readPositions(
          store.sql,
          refused.map((run) => run.run_id),
        )
      ).size,
    ).toBe(0);
  });

  test("takes no idempotency key", async () => {
    await acceptRuns(store.sql, [
      newRun({ orchestration_id: "nowhere", idempotency_key: "free", request_hash: "h" }),
    ]);
    expect(await findIdempotent(store.sql, acme, "free")).toBeNull();
  });
});

describe("an idempotency key", () => {
  const keyed = (key: string) => newRun({ idempotency_key: key, request_hash: "h" });

  test("stands for the first run for a day, in its tenant only", async () => {
    const [first, second] = [keyed("k1"), keyed("k1")];
    expect((await acceptRuns(store.sql, [first])).size).toBe(1);
    expect((await acceptRuns(store.sql, [second])).size).toBe(0);
    expect(await findIdempotent(store.sql, acme, "k1")).toEqual({
      run_id: first.run_id,
      request_hash: "h",
      skipped: false,
      unanswered: false,
    });
    expect(await findIdempotent(store.sql, globex, "k1")).toBeNull();
    expect(
      (await acceptRuns(store.sql, [{ ...keyed("k1"), tenant_id: globex, orchestration_id: "both" }])).size,
    ).toBe(1);
    expect(await readRun(store.sql, acme, second.run_id)).toBeNull();
  });

  test("that has lapsed is taken by the next run", async () => {
    await acceptRuns(store.sql, [keyed("k2")]);
    await store.sql`update idempotency_keys set created_at = now() - interval '25 hours' where key = 'k2'`;
    expect(await findIdempotent(store.sql, acme, "k2")).toBeNull();
    const next = keyed("k2");
    expect((await acceptRuns(store.sql, [next])).size).toBe(1);
    expect(await findIdempotent(store.sql, acme, "k2")).toMatchObject({ run_id: next.run_id });
  });

  // Fails when the key is read before it is inserted.
  test("that twenty requests send at once makes one run", async () => {
    const runs = Array.from({ length: 20 }, () => keyed("k3"));
    const sizes = await Promise.all(runs.map(async (run) => (await acceptRuns(store.sql, [run])).size));
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(1);
    const positions = await readPositions(
      store.sql,
      runs.map((run) => run.run_id),
    );
    expect(positions.size).toBe(1);
  });
});
