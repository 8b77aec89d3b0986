import { afterAll, beforeAll, expect, test } from "vitest";
import { openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

// Fails when the constraint is dropped.
test.each([
  ["a terminal run without an ended_at", "terminal_has_ended", "status = 'completed', owner = null"],
  ["a running run with an ended_at", "terminal_has_ended", "ended_at = now(), wake_at = null"],
  ["a run that has not ended without a wake-up", "awake_until_it_ends", "wake_at = null"],
  [
    "a terminal run with a wake-up",
    "awake_until_it_ends",
    "status = 'failed', owner = null, ended_at = now()",
  ],
  ["a running run without an owner", "running_has_owner", "owner = null"],
  ["a queued run with an owner", "running_has_owner", "status = 'queued'"],
  ["a running run without a deadline", "running_has_deadline", "deadline_at = null"],
  ["a status that does not exist", "runs_status_check", "status = 'lost', owner = null"],
])("Postgres refuses %s", async (_name, constraint, change) => {
  const { run_id } = await store.startRun();
  const changed = store.sql.unsafe(`update runs set ${change} where run_id = '${run_id}'`);
  await expect(changed).rejects.toMatchObject({ code: "23514", constraint_name: constraint });
});

test.each([
  ["an entry without an event", "journal_events_n_check", "0, 'step'"],
  ["an entry of an unknown kind", "journal_kind_check", "1, 'guess'"],
])("Postgres refuses %s", async (_name, constraint, values) => {
  const written = store.sql.unsafe(
    `insert into journal (run_id, seq, attempt, events, events_n, kind) values ('r', 1, 1, '{}', ${values})`,
  );
  await expect(written).rejects.toMatchObject({ code: "23514", constraint_name: constraint });
});
