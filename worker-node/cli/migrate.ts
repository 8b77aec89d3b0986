import { readFile, readdir } from "node:fs/promises";
import postgres from "postgres";
import type { TransactionSql } from "postgres";
import { messageOf } from "../../shared/log.ts";

/** One number for all processes that migrate this schema. */
const ADVISORY_LOCK = 7_301_982_465;

/**
 * Brings a database to the newest schema. Safe to run from any number of processes at once, and through a pooler:
 * everything happens in one transaction under a transaction lock, so it is applied whole or not at all.
 * @throws Error that names the variable to look at when the database does not let us in
 */
export async function migrate(postgresUrl: string): Promise<void> {
  const sql = postgres(postgresUrl, { max: 1, connect_timeout: 10, onnotice: () => {}, prepare: false });
  try {
    await sql`select 1`.catch((cause: unknown) => {
      const variable = "SCALE_POSTGRES_URL (or SCALE_POSTGRES_DIRECT_URL, where it is set)";
      throw new Error(`The database of ${variable} cannot be used: ${messageOf(cause)}`, { cause });
    });
    await sql.begin(async (tx) => {
      await tx`select set_config('lock_timeout', '60s', true), set_config('statement_timeout', '300s', true)`;
      await tx`select pg_advisory_xact_lock(${ADVISORY_LOCK})`;
      await tx`create table if not exists schema_migrations (
        name text primary key, applied_at timestamptz not null default now())`;
      const applied = new Set((await tx`select name from schema_migrations`).map((row) => String(row.name)));
      for (const { name, text } of await readMigrations()) {
        if (applied.has(name)) continue;
        await tx.unsafe(text);
        await tx`insert into schema_migrations (name) values (${name})`;
      }
      await setUpRole(tx);
    });
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/**
 * Settings of the role, because poolers drop those of a session.
 *
 * Every statement is bounded: the queue's index counts on it that a wake-up is committed within seconds of its time.
 * Plans are generic: our statements go by keys, and planning a flush anew each time takes longer than the flush (one
 * entry 1.8 against 0.8 ms, a hundred 9.7 against 6 ms).
 */
async function setUpRole(sql: TransactionSql): Promise<void> {
  const settings = {
    statement_timeout: "5s",
    lock_timeout: "2s",
    idle_in_transaction_session_timeout: "5s",
    plan_cache_mode: "force_generic_plan",
  };
  const [here] = await sql<{ role: string; database: string }[]>`
    select current_user as role, current_database() as database`;
  if (!here) throw new Error("a select without from answered no row");
  for (const [name, value] of Object.entries(settings)) {
    await sql`alter role ${sql(here.role)} in database ${sql(here.database)} set ${sql(name)} = ${sql.unsafe(`'${value}'`)}`;
  }
}

async function readMigrations(): Promise<{ name: string; text: string }[]> {
  const folder = new URL("../../migrations/", import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).toSorted();
  return Promise.all(
    names.map(async (name) => ({ name, text: await readFile(new URL(name, folder), "utf8") })),
  );
}

if (import.meta.main) {
  const url = process.env.SCALE_POSTGRES_DIRECT_URL ?? process.env.SCALE_POSTGRES_URL;
  if (!url)
    throw new Error("SCALE_POSTGRES_URL is not set: write postgres://user:password@host:5432/database");
  await migrate(url);
}
