/** A database with all migrations, made once for all tests, and its copies. */
import { randomBytes } from "node:crypto";
import postgres, { type Sql } from "postgres";
import { connectionOptions } from "../../shared/store/sql.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";

/**
 * Options of a test's own connections: their logins have no time limit. A test that keeps its process busy for longer than the
 * product's limit reads the server's answer too late, and its next statement would fail as if the database were unreachable.
 */
export const testConnection = { ...connectionOptions, connect_timeout: 0 } as const;

export type Template = {
  /** A prefix of the name of each copy. */
  name: string;
  strategy: "file_copy" | null;
};

/**
 * Makes the template. A server without fsync copies it as files, which takes half the processor time of a copy through the log. With
 * fsync the two checkpoints of such a copy take longer than the log, and Postgres 14 has no strategies.
 */
export async function createTemplate(serverUrl: string): Promise<Template> {
  const name = `test_${randomBytes(4).toString("hex")}`;
  const [server] = await onServer(serverUrl, async (sql) => {
    await sql`create database ${sql(name)}`;
    return sql<{ has_strategies: boolean; fsync: string }[]>`
      select current_setting('server_version_num')::int >= 150000 as has_strategies, current_setting('fsync') as fsync`;
  });
  await migrate(databaseUrl(serverUrl, name));
  return { name, strategy: server?.has_strategies && server.fsync === "off" ? "file_copy" : null };
}

/** Makes a copy of the template. @returns its URL. */
export async function copyTemplate(serverUrl: string, { name, strategy }: Template): Promise<string> {
  const copy = `${name}_${randomBytes(4).toString("hex")}`;
  await onServer(serverUrl, (sql) => {
    const how = strategy === null ? sql`` : sql`strategy = ${sql(strategy)}`;
    return sql`create database ${sql(copy)} template ${sql(name)} ${how}`;
  });
  return databaseUrl(serverUrl, copy);
}

/** Makes later connections to a database those of a standby, which refuses each write, or those of a primary again. */
export async function setStandby(url: string, isStandby: boolean): Promise<void> {
  const name = new URL(url).pathname.slice(1);
  await onServer(url, async (sql) => {
    await sql`set default_transaction_read_only = off`;
    await sql`alter database ${sql(name)} set default_transaction_read_only = ${sql.unsafe(isStandby ? "on" : "off")}`;
  });
}

/** Drops the template and its copies, also while they have connections. */
export async function dropDatabases(serverUrl: string, template: Template): Promise<void> {
  await onServer(serverUrl, async (sql) => {
    const databases = await sql<
      { datname: string }[]
    >`select datname from pg_database where starts_with(datname, ${template.name})`;
    for (const { datname } of databases) await sql`drop database ${sql(datname)} with (force)`;
  });
}

async function onServer<Result>(url: string, work: (sql: Sql) => Promise<Result>): Promise<Result> {
  const sql = postgres(url, { ...testConnection, max: 1 });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}
