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

/** Makes the template. @returns its name, which is a prefix of the name of each copy. */
export async function createTemplate(serverUrl: string): Promise<string> {
  const template = `test_${randomBytes(4).toString("hex")}`;
  await onServer(serverUrl, (sql) => sql`create database ${sql(template)}`);
  await migrate(databaseUrl(serverUrl, template));
  return template;
}

/** Makes a copy of the template. @returns its URL. */
export async function copyTemplate(serverUrl: string, template: string): Promise<string> {
  const name = `${template}_${randomBytes(4).toString("hex")}`;
  await onServer(serverUrl, (sql) => sql`create database ${sql(name)} template ${sql(template)}`);
  return databaseUrl(serverUrl, name);
}

/** Drops the template and its copies, also while they have connections. */
export async function dropDatabases(serverUrl: string, template: string): Promise<void> {
  await onServer(serverUrl, async (sql) => {
    const databases = await sql<
      { datname: string }[]
    >`select datname from pg_database where starts_with(datname, ${template})`;
    for (const { datname } of databases) await sql`drop database ${sql(datname)} with (force)`;
  });
}

async function onServer(url: string, work: (sql: Sql) => Promise<unknown>): Promise<void> {
  const sql = postgres(url, { ...testConnection, max: 1 });
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}
