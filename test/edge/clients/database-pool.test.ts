import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { DatabasePool } from "../../../edge/clients/database-pool.ts";
import type { DatabaseEnv } from "../../../edge/clients/postgres.ts";
import { POSTGRES_READ_MS } from "../../../shared/timing.ts";
import { cpuMs } from "../../services/cpu-time.ts";
import { freshDatabase } from "../../services/services.ts";
import { startTestStores, type TestStores } from "../test-stores.ts";

/** A query may take this long. */
const TIMEOUT_MS = 300;

let stores: TestStores;
let env: DatabaseEnv;
let pool: DatabasePool;
beforeAll(async () => {
  const url = await freshDatabase();
  stores = await startTestStores(1, Promise.resolve(url));
  env = { ...stores.vars, HYPERDRIVE: { connectionString: url } };
  pool = new DatabasePool(env, 2, TIMEOUT_MS);
  await pool.query((sql) => sql`select`);
});
afterAll(async () => {
  pool.close();
  await stores.stop();
});

/** Keeps the process busy: it can notice no answer meanwhile. */
function beBusy(ms: number): void {
  for (const from = cpuMs(); cpuMs() - from < ms;);
}

describe("a query of a pool", () => {
  // Fails when its age is that of the clock: 60 runs of one batch were `database_away` while the process was busy with another one.
  test("is no failure of the database while the process is too busy to notice the answer", async () => {
    const answers = [1, 2].map((n) => pool.query((sql) => sql<{ n: number }[]>`select ${n}::int as n`));
    beBusy(4 * TIMEOUT_MS);
    expect((await Promise.all(answers)).flat()).toEqual([{ n: 1 }, { n: 2 }]);
  });

  // Fails when the driver gets the buffer of a read and not a copy: the next read takes its memory away.
  test("gets a result that arrives in many reads as the database sent it", async () => {
    const query = pool.query(
      (sql) => sql<{ text: string }[]>`
        select string_agg(n::text, ' ') as text from generate_series(1, 60000) n`,
    );
    const numbers = Array.from({ length: 60_000 }, (_, i) => i + 1);
    expect((await query)[0]?.text).toBe(numbers.join(" "));
  });

  test("fails when the database sends no result in its time", async () => {
    const silent = pool.query((sql) => sql`select pg_sleep(60)`);
    await expect(silent).rejects.toMatchObject({ code: "CONNECTION_SILENT" });
  });
});

describe("a pool whose server accepts no writes", () => {
  const standby = () => {
    const url = new URL(env.HYPERDRIVE.connectionString);
    url.searchParams.set("options", "-c default_transaction_read_only=on");
    const own = new DatabasePool({ ...env, HYPERDRIVE: { connectionString: url.href } }, 2, POSTGRES_READ_MS);
    onTestFinished(() => own.close());
    const write = () => own.query((sql) => sql`create table none ()`);
    const read = async () =>
      (await own.query((sql) => sql<{ pid: number }[]>`select pg_backend_pid() as pid`))[0]?.pid ?? 0;
    return { own, write, read };
  };

  // Fails when each write of a failover costs a login: the server may stay read-only for minutes, as with a full disk.
  test("is replaced by the first refused write, and by no other one for two seconds", async () => {
    const beganMs = Date.now();
    const now = vi.spyOn(Date, "now");
    onTestFinished(() => now.mockRestore());
    const { write, read } = standby();
    const pids = [await read()];
    for (const atMs of [1_000, 1_001, 2_900, 3_000]) {
      now.mockReturnValue(beganMs + atMs);
      await expect(write()).rejects.toMatchObject({ code: "25006" });
      pids.push(await read());
    }
    const [first, second, , , last] = pids;
    expect(second).not.toBe(first);
    expect(pids).toEqual([first, second, second, second, last]);
    expect(last).not.toBe(second);
  });

  // Fails when a refused write counts as a database that does not answer: the statements that wait for a connection fail with it.
  test.each(["25006", "53100"])("serves the reads that wait behind writes refused with %s", async (code) => {
    const { own, read } = standby();
    await read();
    const write = () =>
      own.query((sql) => sql.unsafe(`do $$ begin raise exception using errcode = '${code}'; end $$`));
    const refused = Array.from({ length: 4 }, () =>
      write().catch(({ code: state }: { code: string }) => state),
    );
    const reads = Array.from({ length: 8 }, read);
    expect(await Promise.all(refused)).toEqual([code, code, code, code]);
    expect((await Promise.all(reads)).every((pid) => pid > 0)).toBe(true);
  });

  test("keeps its connections when the disk is full: another connection reaches the same disk", async () => {
    const { own, read } = standby();
    const pid = await read();
    const write = own.query((sql) => sql`do $$ begin raise exception using errcode = '53100'; end $$`);
    await expect(write).rejects.toMatchObject({ code: "53100" });
    expect(await read()).toBe(pid);
  });
});

// Fails with the driver's `idle_timeout`, and with a timer for each wait: workerd keeps each cleared timer for as long as the object lives.
test("queries, also those that wait for a connection, clear no timer", async () => {
  const own = new DatabasePool(env, 2, POSTGRES_READ_MS);
  const queries = () => Promise.all(Array.from({ length: 20 }, () => own.query((sql) => sql`select`)));
  await queries();
  const clear = vi.spyOn(globalThis, "clearTimeout");
  await queries();
  const cleared = clear.mock.calls.length;
  clear.mockRestore();
  own.close();
  expect(cleared).toBe(0);
});

test("connections that no query uses are closed, and the next query opens one", async () => {
  const idle = new DatabasePool(env, 2, TIMEOUT_MS, 50);
  const pid = async (from: DatabasePool) =>
    (await from.query((sql) => sql<{ pid: number }[]>`select pg_backend_pid() as pid`))[0]?.pid ?? 0;
  const first = await pid(idle);
  const isOpen = () => pool.query((sql) => sql`select from pg_stat_activity where pid = ${first}`);
  await expect.poll(isOpen).toHaveLength(0);
  expect(await pid(idle)).not.toBe(first);
  idle.close();
});
