import { readFile, readdir } from "node:fs/promises";
import type { TransactionSql } from "postgres";
import { messageOf } from "../../shared/log.ts";
import { sqlState } from "../../shared/store/unreachable.ts";
import { LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS } from "../../shared/timing.ts";
import { connectPostgres } from "./connect-postgres.ts";

/** The same number in all processes that migrate this schema. */
const ADVISORY_LOCK = 7_301_982_465;

const VARIABLE = "SCALE_POSTGRES_URL (or SCALE_POSTGRES_DIRECT_URL, where it is set)";

/** The SQLSTATE of a role that lacks a right. Since Postgres 15 the schema `public` takes tables of the database's owner alone. */
const NO_RIGHT = "42501";
const REMEDY =
  "The role must own the tables of the database and may create others: alter database … owner to …, or grant create on schema public to …";

/** The encodings that hold every text. SQL_ASCII, which Debian takes on a machine without a locale, holds the bytes as they are sent. */
const ENCODINGS: ReadonlySet<string> = new Set(["UTF8", "SQL_ASCII"]);

/**
 * Migrates a database to the newest schema. Any number of processes may run it at once, and through a pooler: everything
 * happens in one transaction under a transaction-level lock, so the migrations are applied whole or not at all.
 * @throws Error that names the variable to check when the database cannot be used
 */
export async function migrate(postgresUrl: string): Promise<void> {
  const sql = connectPostgres(postgresUrl, {
    max: 1,
    connect_timeout: 10,
    onnotice: () => {},
    prepare: false,
  });
  try {
    const [server] = await sql<
      { encoding: string }[]
    >`select current_setting('server_encoding') as encoding`.catch((cause: unknown) => {
      throw new Error(`The database of ${VARIABLE} cannot be used: ${messageOf(cause)}`, { cause });
    });
    if (server && !ENCODINGS.has(server.encoding)) {
      throw new Error(
        `The database of ${VARIABLE} has the encoding ${server.encoding}, which cannot hold all texts: create database … template template0 encoding 'UTF8'`,
      );
    }
    await sql.begin(applyMigrations).catch((cause: unknown) => {
      const remedy = sqlState(cause) === NO_RIGHT ? `. ${REMEDY}` : "";
      throw new Error(`The database of ${VARIABLE} cannot be migrated: ${messageOf(cause)}${remedy}`, {
        cause,
      });
    });
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function applyMigrations(sql: TransactionSql): Promise<void> {
  await sql`select set_config('lock_timeout', '60s', true), set_config('statement_timeout', '300s', true)`;
  await sql`select pg_advisory_xact_lock(${ADVISORY_LOCK})`;
  await sql`create table if not exists schema_migrations (
    name text primary key, applied_at timestamptz not null default now())`;
  const applied = new Set((await sql`select name from schema_migrations`).map((row) => String(row.name)));
  for (const { name, text } of await readMigrations()) {
    if (applied.has(name)) continue;
    await sql.unsafe(text);
    await sql`insert into schema_migrations (name) values (${name})`;
  }
  await setUpRole(sql);
}

/**
 * Changes settings of the role, because poolers drop those of a session.
 *
 * Every statement is bounded: the due scan relies on a wake-up being committed within seconds of its time (docs/protocol.md
 * 7.1). Plans are generic: all statements select by keys, and planning a flush each time takes longer than the flush itself. With plans
 * made each time, one entry took 1.8 ms instead of 0.8 ms, and a hundred entries 9.7 ms instead of 6 ms. No statement starts parallel
 * workers: a poll of a feed over some days of the journal took 16 ms with two of them, and 3 ms without.
 *
 * What statements mean does not depend on the settings of the server or the database. Positions of scans are times as text, which another
 * date style reads as other times; a count under a lock has to see what the holder before has committed; and lists with nulls are sent
 * as text, in which `array_nulls = off` reads the word NULL.
 */
async function setUpRole(sql: TransactionSql): Promise<void> {
  const settings = {
    statement_timeout: `${STATEMENT_TIMEOUT_MS}ms`,
    lock_timeout: `${LOCK_TIMEOUT_MS}ms`,
    idle_in_transaction_session_timeout: "5s",
    plan_cache_mode: "force_generic_plan",
    max_parallel_workers_per_gather: "0",
    default_transaction_isolation: "read committed",
    timezone: "UTC",
    datestyle: "ISO, MDY",
    intervalstyle: "postgres",
    array_nulls: "on",
    standard_conforming_strings: "on",
    bytea_output: "hex",
    extra_float_digits: "1",
  };
  const [current] = await sql<{ role: string; database: string; commits: string }[]>`
    select current_user as role, current_database() as database, current_setting('synchronous_commit') as commits`;
  if (!current) throw new Error("a select without from returned no row");
  // A crash must take no commit back. The other values wait for the disk too, and some also for a standby.
  const commits = current.commits === "off" ? { synchronous_commit: "on" } : {};
  for (const [name, value] of Object.entries({ ...settings, ...commits })) {
    await sql`alter role ${sql(current.role)} in database ${sql(current.database)} set ${sql(name)} = ${sql.unsafe(`'${value}'`)}`;
  }
}

async function readMigrations(): Promise<{ name: string; text: string }[]> {
  const folder = new URL("../../migrations/", import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith(".sql")).toSorted();
  return Promise.all(
    names.map(async (name) => ({ name, text: await readFile(new URL(name, folder), "utf8") })),
  );
}
