import net from "node:net";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { z } from "zod";
import { firstWord } from "../../../worker-node/tools/sql/first-word.ts";
import { SqlProcesses } from "../../../worker-node/tools/sql/sql-processes.ts";
import { freshDatabase } from "../../services/services.ts";

let connection: string;
let admin: postgres.Sql;
beforeAll(async () => {
  const url = new URL(await freshDatabase());
  // The URL of a tool may have no query: it could name a Unix socket.
  url.search = "";
  connection = url.href;
  admin = postgres(connection, { max: 1 });
  await admin`create table facts (id int primary key, what text)`;
  await admin`insert into facts select i, 'fact ' || i from generate_series(1, 3) i`;
  await admin`create function write_fact() returns int language sql as $$ insert into facts values (99, 'written') returning id $$`;
});
const processes = new SqlProcesses();
afterAll(async () => {
  processes.close();
  await admin.end();
});

const query = (
  sql: string,
  params: unknown[] = [],
  {
    at = connection,
    allow = "127.0.0.1,localhost",
    timeoutMs = 5_000,
    signal = new AbortController().signal,
  } = {},
) => {
  const args: JsonObject = JSON.parse(JSON.stringify({ sql, params }));
  return processes.query({ name: "facts", connection: at }, args, {
    tenantId: "tenant",
    allow,
    timeoutMs,
    signal,
  });
};

describe("a tool of type sql", () => {
  test("returns the rows of a statement with values, as JSON that loses nothing", async () => {
    expect(await query("select id, what from facts where id >= $1 order by id", [2])).toEqual({
      rows: [
        { id: 2, what: "fact 2" },
        { id: 3, what: "fact 3" },
      ],
      row_count: 2,
      truncated: false,
    });
    const values = `select 9007199254740993::bigint as big, 'NaN'::float8 as nan, '2026-01-02 03:04:05.123456'::timestamp as at,
      '\\x00ff'::bytea as bytes, '{"n": 12345678901234567890}'::json as json, null as nothing, $1::text as text, $2::bool as yes`;
    expect(await query(values, ["'; drop table facts; --", false])).toMatchObject({
      rows: [
        {
          big: "9007199254740993",
          nan: "NaN",
          at: "2026-01-02 03:04:05.123456",
          bytes: "\\x00ff",
          json: { n: "12345678901234567890" },
          nothing: null,
          text: "'; drop table facts; --",
          yes: false,
        },
      ],
    });
  });

  // Fails when a row has the last of several columns with one name, and not the others.
  test("has each column of a row, also where several have one name", async () => {
    const joined =
      "select a.id, b.id, b.what, count(*), count(a.what) from facts a join facts b on b.id = a.id + 1";
    expect(await query(`${joined} group by a.id, b.id order by a.id limit 1`)).toMatchObject({
      rows: [{ id: 1, id_2: 2, what: "fact 2", count: "1", count_2: "1" }],
    });
    expect(await query("select 1, 2, 3 as \"?column?_2\", set_config('a.b', 'x', true)")).toMatchObject({
      rows: [{ "?column?": 1, "?column?_2": 2, "?column?_2_2": 3, set_config: "x" }],
    });
  });

  // Fails when the value becomes the prototype of the row, and is lost.
  test("has a column with the name __proto__ under another name, as a second one with a name", async () => {
    expect(await query('select 1 as "__proto__", 2 as b')).toMatchObject({
      rows: [{ __proto___2: 1, b: 2 }],
    });
  });

  // Fails when the last rows of a statement without a count are dropped.
  test.each([
    ["explain select * from facts", 1],
    ["/* plan */ explain select count(*) from facts a, facts b", 4],
    ["show timezone", 1],
    ["SHOW ALL", 300],
  ])("has all rows of %s", async (sql, least) => {
    const result = z.object({ rows: z.array(z.unknown()) }).parse(await query(sql));
    expect(result.rows.length).toBeGreaterThanOrEqual(least);
  });

  // Fails when the worker waits for the driver, which never comes back, or when the driver ends the process with an error of its stream.
  test.each([
    ["copy (select i from generate_series(1, 100000) i) to stdout", "COPY"],
    ["-- all of it\n/* a /* b */ c */ Copy facts to stdout", "COPY"],
    [" ; ", "no statement"],
    ["-- nothing", "no statement"],
    ["/* nothing", "no statement"],
  ])("refuses %j at once, and says why", async (sql, why) => {
    await expect(query(sql)).rejects.toMatchObject({
      name: "ToolRejection",
      message: expect.stringContaining(why),
    });
  });

  test.each([
    ["select 1", "select"],
    ["\n;( (SELECT 1))", "select"],
    ["--x\n--y\r\n with a as (select 1) table a", "with"],
    ["/**/explain", "explain"],
    ["/* /* */ copy */ show all", "show"],
    ["$1", ""],
    ["/* open copy", null],
  ])("reads of %j the first word %j", (sql, word) => {
    expect(firstWord(sql)).toBe(word);
  });

  // Fails when the transaction is writable, can be made so, or can be ended by the statement.
  test.each([
    "insert into facts values (7, 'x')",
    "select write_fact()",
    "with w as (insert into facts values (7, 'x') returning id) select * from w",
    "commit; insert into facts values (7, 'x')",
    "set transaction read write",
    "do $$ begin perform set_config('transaction_read_only', 'off', true); insert into facts values (7, 'x'); end $$",
  ])("cannot write: %s", async (sql) => {
    await expect(query(sql)).rejects.toMatchObject({ name: "ToolRejection", code: "tool_rejected" });
    expect(await admin`select count(*)::int as n from facts`).toMatchObject([{ n: 3 }]);
  });

  test("returns at most 1,000 rows and 1 MiB, and says that it was cut", async () => {
    expect(await query("select i from generate_series(1, 1000) i")).toMatchObject({
      row_count: 1_000,
      truncated: false,
    });
    expect(await query("select i from generate_series(1, 100000) i")).toMatchObject({
      row_count: 1_000,
      truncated: true,
    });
    expect(await query("select repeat('x', 300000) as x from generate_series(1, 9)")).toMatchObject({
      row_count: 3,
      truncated: true,
    });
  });

  // Fails when the driver holds a row of any size: one row may have a gigabyte.
  test("gives up a result whose rows are larger than a worker may hold", async () => {
    const huge = "select repeat('x', 40000000)";
    await expect(query(huge)).rejects.toMatchObject({ code: "answer_too_large" });
  });

  test("reports a wrong statement to the model, and nothing of the connection", async () => {
    await expect(query("select nothing from facts")).rejects.toMatchObject({
      name: "ToolRejection",
      message: 'column "nothing" does not exist (SQLSTATE 42703)',
    });
  });

  // Fails when the database is called unreachable, or the answer of the process cannot be read.
  test("reports a value with which the result would be nested too deeply", async () => {
    const json = (levels: number) =>
      query(`select (repeat('[', ${levels}) || repeat(']', ${levels}))::json as deep`);
    await expect(json(61)).resolves.toMatchObject({ row_count: 1 });
    for (const levels of [63, 64]) {
      await expect(json(levels)).rejects.toMatchObject({
        name: "ToolRejection",
        message: "the result is nested more than 64 levels deep: select less",
      });
    }
  });

  test("ends a statement at its limit, at the server too", async () => {
    const slow = "select pg_sleep(60), 'the slow one'";
    await expect(query(slow, [], { timeoutMs: 200 })).rejects.toMatchObject({
      name: "RetryableError",
      code: "tool_timeout",
    });
    const active = () =>
      admin`select count(*)::int as n from pg_stat_activity where query = ${slow} and state = 'active'`;
    await expect.poll(async () => (await active())[0]?.["n"]).toBe(0);
  });

  test("reaches no address that the egress guard refuses", async () => {
    await expect(query("select 1", [], { allow: "" })).rejects.toMatchObject({ code: "egress_blocked" });
    const metadata = "postgres://u:p@169.254.169.254/db";
    await expect(query("select 1", [], { at: metadata })).rejects.toMatchObject({ code: "egress_blocked" });
  });

  test("tries again after a failure that may pass, fails at once after any other, and never quotes its password", async () => {
    const wrong = new URL(connection);
    wrong.pathname = "/nowhere";
    wrong.password = "sesame";
    const refused = query("select 1", [], { at: wrong.href });
    await expect(refused).rejects.toMatchObject({ name: "TerminalError", code: "tool_unauthorized" });
    await expect(refused).rejects.not.toThrow("sesame");
    const server = net.createServer((socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = z.object({ port: z.number() }).parse(server.address());
    const closing = query("select 1", [], { at: `postgres://u:sesame@127.0.0.1:${port}/db` });
    await expect(closing).rejects.toMatchObject({ name: "RetryableError", code: "unreachable" });
    server.close();
  });
});

describe("the process of a call", () => {
  const odd = new SqlProcesses({
    program: new URL("./fixtures/odd-process.ts", import.meta.url),
    silentMs: 0,
  });
  afterAll(() => odd.close());
  const ask = (
    sql: string,
    { tenantId = "a", timeoutMs = 60_000, signal = new AbortController().signal } = {},
  ) => odd.query({ name: "facts", connection }, { sql }, { tenantId, allow: "", timeoutMs, signal });
  const isAlive = (pid: Json) => {
    try {
      return process.kill(Number(pid), 0);
    } catch {
      return false;
    }
  };

  test.each([
    ["sends nothing", "be silent"],
    ["uses the processor without end", "use the processor"],
  ])("is killed and replaced when it %s", async (_, sql) => {
    const before = await ask("pid");
    await expect(ask(sql, { timeoutMs: 1 })).rejects.toMatchObject({
      name: "RetryableError",
      code: "tool_timeout",
    });
    await expect.poll(() => isAlive(before)).toBe(false);
    expect(await ask("pid")).not.toBe(before);
  });

  test.each([
    ["ends", "end"],
    ["sends no answer but something else", "send nonsense"],
  ])("fails its own call alone when it %s, and the call may be tried again", async (_, sql) => {
    const [ended, other] = [ask(sql), ask("pid", { tenantId: "b" })];
    await expect(ended).rejects.toMatchObject({ name: "RetryableError", code: "unreachable" });
    expect(await other).toEqual(expect.any(Number));
  });

  test("is killed when its call is cancelled", async () => {
    const before = await ask("pid");
    const stop = new AbortController();
    const cancelled = ask("use the processor", { signal: stop.signal });
    stop.abort(new Error("cancelled"));
    await expect(cancelled).rejects.toThrow("cancelled");
    await expect.poll(() => isAlive(before)).toBe(false);
  });

  test("is there for another tenant while one tenant has more calls than processes", async () => {
    const stop = new AbortController();
    const occupied = Array.from({ length: 20 }, () => ask("be silent", { signal: stop.signal }));
    expect(await ask("pid", { tenantId: "b" })).toEqual(expect.any(Number));
    stop.abort(new Error("cancelled"));
    for (const call of occupied) await expect(call).rejects.toThrow("cancelled");
  });

  // Fails when what a failed call leaves to the driver ends a later call, or the call of another tenant.
  test("takes a further call of its tenant alone, and none after a call that failed", async () => {
    const first = await ask("pid", { tenantId: "c" });
    expect(await ask("pid", { tenantId: "d" })).not.toBe(first);
    expect(await ask("pid", { tenantId: "c" })).toBe(first);
    await expect(ask("fail", { tenantId: "c" })).rejects.toThrow("as it was told");
    expect(await ask("pid", { tenantId: "c" })).not.toBe(first);
  });

  test("has nothing of the worker's environment but where certificates are", async () => {
    expect(Object.keys(process.env)).toContain("PATH");
    const names = z.array(z.string()).parse(await ask("environment"));
    expect(names.filter((name) => !/^(NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|SSL_CERT_DIR)$/.test(name))).toEqual(
      [],
    );
  });
});
