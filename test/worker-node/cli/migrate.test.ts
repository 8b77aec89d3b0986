import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import postgres from "postgres";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { runProgram } from "./run-program.ts";
import { migrate } from "../../../worker-node/clients/migrations.ts";

const name = `${inject("databaseTemplate").name}_migrate_${randomBytes(3).toString("hex")}`;
const url = new URL(inject("postgresUrl"));
const server = postgres(url.href, { max: 1, onnotice: () => {} });

beforeAll(async () => {
  await server`create database ${server(name)}`;
  url.pathname = `/${name}`;
});
afterAll(() => server.end({ timeout: 1 }));

function migrateInChildProcess(): Promise<number | null> {
  const child = spawn(process.execPath, ["worker-node/cli/migrate.ts"], {
    env: { PATH: process.env["PATH"], SCALE_POSTGRES_URL: url.href },
    stdio: "ignore",
  });
  return new Promise((resolve) => child.once("exit", resolve));
}

// Fails when the processes do not wait for each other: the second would find half a schema, or apply it twice.
test("two processes that migrate an empty database at once, and a later one, apply each migration once", async () => {
  expect(await Promise.all([migrateInChildProcess(), migrateInChildProcess(), migrate(url.href)])).toEqual([
    0,
    0,
    undefined,
  ]);
  await migrate(url.href);
  const sql = postgres(url.href, { max: 1 });
  try {
    const applied =
      await sql`select name, count(*)::int as n from schema_migrations group by name order by name`;
    expect(applied.length).toBeGreaterThan(0);
    expect(applied.every(({ n }) => n === 1)).toBe(true);
  } finally {
    await sql.end({ timeout: 1 });
  }
});

// Fails when a .env file that lists SCALE_POSTGRES_DIRECT_URL without a value keeps migrations from running.
test("an empty SCALE_POSTGRES_DIRECT_URL counts as not set, and an error is one sentence", async () => {
  const run = (env: Record<string, string>) => runProgram("migrate.ts", env, []);
  const direct = { SCALE_POSTGRES_DIRECT_URL: "" };
  expect(await run({ ...direct, SCALE_POSTGRES_URL: url.href })).toMatchObject({ code: 0, stderr: "" });
  expect(await run(direct)).toMatchObject({
    code: 1,
    stderr: "SCALE_POSTGRES_URL is not set: write postgres://user:password@host:5432/database\n",
  });
});

// Fails when the error is Postgres' own sentence alone, which names neither the variable nor a remedy.
test("the error of a role that may not create tables names the right that it lacks", async () => {
  const role = `${name}_reader`;
  await server`create role ${server(role)} login password 'reader'`;
  const own = `${name}_own`;
  await server`create database ${server(own)}`;
  const denied = new URL(url);
  Object.assign(denied, { username: role, password: "reader", pathname: `/${own}` });
  const administrator = postgres(new URL(`/${own}`, url).href, { max: 1 });
  await administrator`revoke create on schema public from public`;
  await administrator.end();
  const run = await runProgram("migrate.ts", { SCALE_POSTGRES_URL: denied.href }, []);
  expect([run.code, run.stderr]).toEqual([
    1,
    expect.stringMatching(
      /^The database of SCALE_POSTGRES_URL .* permission denied for schema public\. .*grant create on schema public/,
    ),
  ]);
});

// Fails when the first migration refuses one of its own texts, in words that name no remedy.
test("a database whose encoding cannot hold all texts is refused, with the statement that makes another", async () => {
  const latin = `${name}_latin`;
  await server`create database ${server(latin)} template template0 encoding 'LATIN1' locale 'C'`;
  await expect(migrate(new URL(`/${latin}`, url).href)).rejects.toThrow(
    /^The database of SCALE_POSTGRES_URL .* has the encoding LATIN1, .*create database … template template0 encoding 'UTF8'$/,
  );
});

// Fails when statements depend on settings that an operator may give the database or the server: with another date style the cursors of
// scans name other times, with another isolation a count under a lock does not see what the holder before committed, and without nulls in
// arrays no entry of a journal could be stored.
test("statements have the same settings whatever the database's own are", async () => {
  for (const [setting, value] of Object.entries({
    timezone: "Asia/Kolkata",
    datestyle: "SQL, DMY",
    intervalstyle: "sql_standard",
    default_transaction_isolation: "repeatable read",
    array_nulls: "off",
    standard_conforming_strings: "off",
    bytea_output: "escape",
    extra_float_digits: "0",
    synchronous_commit: "off",
  })) {
    await server`alter database ${server(name)} set ${server(setting)} = ${server.unsafe(`'${value}'`)}`;
  }
  await migrate(url.href);
  const sql = postgres(url.href, { max: 1 });
  try {
    const [row] = await sql`
      select '2026-02-01T12:00:00Z'::timestamptz::text as time, '90 s'::interval::text as interval,
        current_setting('transaction_isolation') as isolation, current_setting('synchronous_commit') as commits, ('{NULL}'::text[])[1] as element,
        ${sql.unsafe(String.raw`'\\d'`)} as backslash, '\\x00ff'::bytea as bytes, 0.1::float8 + 0.2::float8 as sum`;
    expect(row).toEqual({
      time: "2026-02-01 12:00:00+00",
      interval: "00:01:30",
      isolation: "read committed",
      commits: "on",
      element: null,
      backslash: String.raw`\\d`,
      bytes: Buffer.from([0, 255]),
      sum: 0.1 + 0.2,
    });
  } finally {
    await sql.end({ timeout: 1 });
  }
});
