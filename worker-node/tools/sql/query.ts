import postgres from "postgres";
import { z } from "zod";
import { parseConnection } from "../../../shared/contracts/definition/sql-tool.ts";
import type { SqlConnection } from "../../../shared/contracts/definition/sql-tool.ts";
import { JsonValue } from "../../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { jsonOrText } from "../../engine/parse-json.ts";
import { RetryableError, TerminalError, ToolRejection } from "../../engine/step-errors.ts";
import { abortable } from "../../execution/stop.ts";
import type { Egress } from "../../outbound/egress-guard.ts";
import { firstWord } from "./first-word.ts";
import { connectTo, once } from "./socket.ts";
import type { Connected } from "./socket.ts";

const MAX_ROWS = 1_000;
const BATCH_ROWS = 50;
/**
 * Statements whose end does not say how many rows there were. The driver drops the last, incomplete batch of them, so a batch is one
 * row.
 */
const WITHOUT_COUNT: ReadonlySet<string> = new Set(["explain", "show", "call"]);
const MAX_RESULT_BYTES = 1024 * 1024;
const MAX_SQL_CHARS = 100_000;
const MAX_PARAMS = 100;

const Arguments = z.object({
  sql: z.string().min(1).max(MAX_SQL_CHARS),
  params: z
    .array(z.union([z.string(), z.number(), z.boolean(), z.null()]))
    .max(MAX_PARAMS)
    .nullish(),
});

/**
 * Runs one statement of a tool of type `sql`, in a transaction that only reads, on a connection of its own behind the egress guard.
 * A result of more than 1,000 rows or 1 MiB is cut after a row, and says so (`truncated`).
 * @param call `timeoutMs` limits the statement at the server, and with a second more the whole call
 * @throws ToolRejection for what the statement has caused; TerminalError `tool_unauthorized`, `egress_blocked`, `bad_tool`; RetryableError
 *   `tool_timeout`, `unreachable`. No error quotes the connection.
 */
export async function querySql(
  tool: { name: string; connection: string },
  args: JsonObject,
  { egress, timeoutMs, signal }: { egress: Egress; timeoutMs: number; signal: AbortSignal },
): Promise<Json> {
  const parsed = Arguments.safeParse(args);
  if (!parsed.success) throw new ToolRejection(z.prettifyError(parsed.error));
  const { sql, params } = parsed.data;
  const word = wordOf(sql);
  const connection = parseConnection(tool.connection);
  if ("error" in connection) {
    throw new TerminalError("bad_tool", `the connection of the tool ${tool.name} ${connection.error}`);
  }
  const limit = AbortSignal.timeout(timeoutMs + 1_000);
  const either = AbortSignal.any([signal, limit]);
  let connected: Connected | null = null;
  let client: ReturnType<typeof open> | null = null;
  try {
    connected = await connectTo(connection, egress, either);
    const columns = new ColumnNames();
    client = open(connection, connected, columns);
    const batchRows = WITHOUT_COUNT.has(word) ? 1 : BATCH_ROWS;
    const reading = read(client, { sql, params: params ?? [], batchRows }, columns, timeoutMs);
    return await abortable(either, Promise.race([reading, connected.failure]));
  } catch (error) {
    signal.throwIfAborted();
    if (limit.aborted) {
      throw new RetryableError("tool_timeout", `the tool ${tool.name} did not answer in time`, {
        cause: error,
      });
    }
    throw errorOf(error, tool.name);
  } finally {
    // No wait for a statement under way: the server ends it at its own limit.
    void client?.end({ timeout: 0 });
    connected?.close();
  }
}

/** The text of a value as Postgres writes it, where JSON or JavaScript would change it. */
const asWritten = (from: number[]) => ({
  to: from[0] ?? 0,
  from,
  serialize: String,
  parse: (text: string) => text,
});

/** Names that no column of a row can have. */
const TAKEN: readonly string[] = ["__proto__"];

/**
 * Names each column of a statement once: a second `count` is `count_2`. A row is an object, and the driver would keep the last of two
 * columns with one name, and none with the name `__proto__`, which is `__proto___2`.
 */
class ColumnNames {
  readonly #used = new Set(TAKEN);

  next(name: string): string {
    let own = name;
    for (let i = 2; this.#used.has(own); i++) own = `${name}_${i}`;
    this.#used.add(own);
    return own;
  }

  /** Before another statement. */
  reset(): void {
    this.#used.clear();
    for (const name of TAKEN) this.#used.add(name);
  }
}

function open({ host, port, tls, ...login }: SqlConnection, { socket }: Connected, columns: ColumnNames) {
  const verified = { servername: host, rejectUnauthorized: tls === "verify-full" };
  // A variable and no literal: the driver takes `socket`, which its types do not know.
  const options = {
    ...login,
    host,
    port,
    max: 1,
    prepare: false,
    fetch_types: false,
    ssl: tls === "disable" ? false : tls === "prefer" ? ("prefer" as const) : verified,
    socket: once(socket),
    connection: { application_name: "synapse-edge" },
    onnotice: () => {},
    transform: { column: { from: (name: string) => columns.next(name) } },
    types: {
      dates: asWritten([1184, 1082, 1114]),
      bytes: asWritten([17]),
      json: {
        to: 3802,
        from: [114, 3802],
        serialize: JSON.stringify,
        parse: (text: string) => jsonOrText(text),
      },
      numbers: {
        to: 701,
        from: [21, 23, 26, 700, 701],
        serialize: String,
        parse: (text: string) => (Number.isFinite(Number(text)) ? Number(text) : text),
      },
    },
  };
  return postgres(options);
}

/** @throws ToolRejection for a statement that the driver cannot read the result of: nothing, and the streams of COPY */
function wordOf(sql: string): string {
  const word = firstWord(sql);
  if (word === null) throw new ToolRejection("sql has no statement");
  // The driver makes a stream of what COPY sends, of which no error can be caught.
  if (word === "copy") throw new ToolRejection("COPY has no rows: write a SELECT");
  return word;
}

type Statement = { sql: string; params: readonly (string | number | boolean | null)[]; batchRows: number };

async function read(
  client: ReturnType<typeof open>,
  { sql: text, params, batchRows }: Statement,
  columns: ColumnNames,
  timeoutMs: number,
): Promise<Json> {
  const rows: Json[] = [];
  let bytes = 0;
  let truncated = false;
  await client.begin("read only", async (sql) => {
    // It sets the limit. It also keeps the statement from making the transaction writable, which must come before any query.
    await sql`select set_config('statement_timeout', ${String(timeoutMs)}, true)`;
    columns.reset();
    // A cursor uses the extended protocol, which takes one statement: of several, one could end the transaction.
    const statement = sql.unsafe(text, [...params]);
    for await (const batch of statement.cursor(batchRows)) {
      for (const row of batch) {
        const value = jsonRow(row);
        bytes += Buffer.byteLength(JSON.stringify(value));
        truncated = rows.length >= MAX_ROWS || bytes > MAX_RESULT_BYTES;
        if (truncated) return;
        rows.push(value);
      }
    }
  });
  return { rows, row_count: rows.length, truncated };
}

/** @throws ToolRejection for a row that would make the result deeper than a JSON value may be */
function jsonRow(row: object): Json {
  const value = JsonValue.safeParse(Object.fromEntries(Object.entries(row)));
  if (value.success && JsonValue.safeParse({ rows: [value.data] }).success) return value.data;
  throw new ToolRejection("the result is nested more than 64 levels deep: select less");
}

const PostgresError = z.object({ name: z.literal("PostgresError"), code: z.string(), message: z.string() });

/** What a failure of the database, or of the way to it, means for the step. */
function errorOf(error: unknown, name: string): Error {
  if (error instanceof TerminalError || error instanceof RetryableError) return error;
  const parsed = PostgresError.safeParse(error);
  if (!parsed.success) {
    return new RetryableError(
      "unreachable",
      `the database of ${name} cannot be reached, or closed the connection`,
      {
        cause: error,
      },
    );
  }
  const { code, message } = parsed.data;
  if (code === "57014") {
    return new RetryableError("tool_timeout", `the statement took longer than the limit of ${name}`, {
      cause: error,
    });
  }
  // Invalid authorization, and a database that does not exist. Here and below without the cause, which a worker logs: the
  // server's sentence names the user or the database, and all of the connection is secret.
  if (code.startsWith("28") || code === "3D000") {
    return new TerminalError(
      "tool_unauthorized",
      `the database of ${name} refuses its connection (SQLSTATE ${code})`,
    );
  }
  // Connection failures, no resources, shutdown.
  if (/^(08|53|57|58)/.test(code)) {
    return new RetryableError(
      "tool_unavailable",
      `the database of ${name} is not available now (SQLSTATE ${code})`,
    );
  }
  return new ToolRejection(`${message} (SQLSTATE ${code})`, { cause: error });
}
