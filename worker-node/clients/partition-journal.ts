import type { Sql } from "../../shared/store/sql.ts";
import { connectPostgres } from "./connect-postgres.ts";

/** For so many days the former table of the journal still takes the entries of new runs. The command must have succeeded by then. */
const DAYS = 7;

/**
 * Makes the journal of a database with runs a partitioned table (docs/protocol.md 7.15). No row is written anew, and runs go on.
 *
 * All entries are read once, while others are written, to prove that they are of days before the first partition. Then writers wait for a
 * moment. The operator calls it when all edges have the version of migration 0045, and again if it died; a partitioned journal stays as
 * it is.
 * @throws Error of Postgres, such as a lock that is not free within two seconds; the journal is as before
 */
export async function partitionJournal(postgresUrl: string): Promise<void> {
  const sql = connectPostgres(postgresUrl, { max: 1, onnotice: () => {}, prepare: false });
  try {
    const [journal] = await sql<{ is_partitioned: boolean; until: string }[]>`
      select relkind = 'p' as is_partitioned, ((now() at time zone 'UTC')::date + ${DAYS}::int)::text as until
      from pg_class where oid = 'journal'::regclass`;
    if (!journal) throw new Error("the database has no journal: migrate it first");
    if (!journal.is_partitioned) await partition(sql, journal.until);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function partition(sql: Sql, until: string): Promise<void> {
  try {
    await proveDays(sql, until);
    await sql`select partition_journal(${until}::date)`;
  } catch (error) {
    // Left behind, it would refuse the entries of runs of later days.
    await sql`alter table journal drop constraint if exists journal_days`;
    throw error;
  }
}

/** Adds the constraint that lets the table become a partition without being read again. */
async function proveDays(sql: Sql, until: string): Promise<void> {
  await sql.begin(async (tx) => {
    const [{ base } = { base: "" }] = await tx<
      { base: string }[]
    >`select journal_day_begins(${until}::date) as base`;
    await tx`alter table journal drop constraint if exists journal_days`;
    await tx.unsafe(
      `alter table journal add constraint journal_days check (right(run_id, 13) is not null and right(run_id, 13) < '${base}') not valid`,
    );
  });
  await sql.begin(async (tx) => {
    await tx`select set_config('statement_timeout', '0', true)`;
    await tx`alter table journal validate constraint journal_days`;
  });
}
