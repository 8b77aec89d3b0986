import postgres from "postgres";
import { AppError, errors } from "../../shared/errors.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { Row, Sql } from "../../shared/store/sql.ts";
import { Combiner } from "./combiner.ts";
import type { DatabaseObject, Env, LateReply, StatementCall, StatementReply } from "../env.ts";
import type { Sized } from "./fair-queue.ts";
import { inSqlSpan } from "./sql-span.ts";

/** An error of the driver in the object that executed the statement, which sent it as data. */
class DatabaseError extends Error {
  readonly code: string | undefined;

  constructor({ name, message, code }: { name: string; message: string; code: string | null }) {
    super(message);
    this.name = name;
    this.code = code ?? undefined;
  }
}

/** The name of a database object: `api` for requests of clients, `state` for those of workers. Each has connections of its own. */
type PoolName = "api" | "state";

/**
 * Postgres for one request, over the connections that a database object keeps for all requests.
 * @param pool the name of the object: requests of one object do not wait for those of the other
 * @param tenant the tenant whose turns the statements take
 * @param waitUntil keeps the request alive until its part in a shared call has ended
 */
export function sharedDatabase(
  env: Env,
  pool: PoolName,
  tenant: string,
  waitUntil: (work: Promise<unknown>) => void,
): Sql {
  const object = () => env.DATABASE.getByName(pool);
  return remoteSql((text, values) =>
    inSqlSpan(text, async () => {
      const statement = { text, values, tenant };
      const sent = isRead(text) ? read(pool, object, statement, waitUntil) : object().execute(statement);
      const reply = await orMoved(sent);
      if (!reply.ok) throw errorOf(reply);
      return Object.assign<Row[], { count: number }>(reply.rows, { count: reply.count });
    }),
  );
}

/**
 * The reads of an isolate share their calls to an object. A call costs 220 us of processor time, which is more than a short
 * statement; a share of a call costs 40 us. Late replies are collected in calls of their own, so that no other read waits for them.
 */
const newCalls = () => ({
  read: new Combiner<StatementCall, StatementReply | LateReply>(sizeOfStatement),
  collect: new Combiner<LateReply, StatementReply | LateReply>(() => ({ tenant: "", bytes: 0 })),
});
const calls = { api: newCalls(), state: newCalls() };

async function read(
  pool: PoolName,
  object: () => DatabaseObject,
  statement: StatementCall,
  waitUntil: (work: Promise<unknown>) => void,
): Promise<StatementReply> {
  const { read: reads, collect } = calls[pool];
  let reply = await reads.send(statement, (all) => object().read(all), waitUntil);
  // The loop ends: every statement ends within its time limit, with a result or an error.
  while ("late" in reply) reply = await collect.send(reply, (all) => object().collect(all), waitUntil);
  return reply;
}

/** About as many bytes as a statement takes while it waits. */
export function sizeOfStatement({ text, values, tenant }: StatementCall): Sized {
  const ofValues = values.map((value) => (typeof value === "string" ? value.length : 8));
  return { tenant, bytes: ofValues.reduce((sum, bytes) => sum + bytes, text.length) };
}

/**
 * Whether a statement only reads, so that it may be shared and repeated: a SELECT that locks no rows. Therefore no statement that begins
 * with SELECT may call a function that changes something, unless it locks rows.
 */
function isRead(text: string): boolean {
  return /^\s*select\b/i.test(text) && !/\bfor\s+(no\s+key\s+)?update\b/i.test(text);
}

async function orMoved(reply: Promise<StatementReply>): Promise<StatementReply> {
  try {
    return await reply;
  } catch (cause) {
    throw connectionMoved(cause);
  }
}

export function connectionMoved(cause?: unknown): AppError {
  const detail = "The connection to the database was moved, or too much waits for it; try again in a moment.";
  return new AppError("capacity", detail, { retryAfterSeconds: 1, cause });
}

function errorOf(reply: Extract<StatementReply, { ok: false }>): Error {
  if (!isOurCode(reply.code)) return new DatabaseError(reply);
  const { retryAfterSeconds } = reply;
  return new AppError(reply.code, reply.message, {
    ...(retryAfterSeconds !== null && { retryAfterSeconds }),
  });
}

function isOurCode(code: string | null): code is ErrorCode {
  return code !== null && Object.hasOwn(errors, code);
}

/** Executes a statement's text, which has $1, $2 … in place of its values. */
type SendStatement = (text: string, values: unknown[]) => Promise<Row[] & { count: number }>;

/** The target that gives all proxies their type. It opens no connection, and is made once: making it takes half of a request's time. */
let neverCalled: Sql | undefined;

/**
 * An `Sql` whose statements the database object executes, so that the functions of `shared/store` use it like a connection. It has
 * templates and their parts. It has no transactions, cursors or other functions of the driver: their use throws.
 */
function remoteSql(send: SendStatement): Sql {
  neverCalled ??= postgres({ max: 1 });
  return new Proxy(neverCalled, {
    apply: (_target, _this, [first, ...values]: unknown[]) =>
      isTemplate(first) ? new Statement(send, first, values) : new Identifier(String(first)),
    get(_target, name) {
      throw new Error(`a remote statement has no ${String(name)}`);
    },
  });
}

/** A statement, or a part of one. It is sent when it is awaited. */
class Statement implements PromiseLike<Row[]> {
  readonly #send: SendStatement;
  readonly #texts: readonly string[];
  readonly #values: readonly unknown[];

  constructor(send: SendStatement, texts: readonly string[], values: readonly unknown[]) {
    this.#send = send;
    this.#texts = texts;
    this.#values = values;
  }

  // oxlint-disable-next-line unicorn/no-thenable -- a statement of the driver is sent when it is awaited; so is this one
  then<Result = Row[], Otherwise = never>(
    onRows?: ((rows: Row[]) => Result | PromiseLike<Result>) | null,
    onError?: ((error: unknown) => Otherwise | PromiseLike<Otherwise>) | null,
  ): Promise<Result | Otherwise> {
    const values: unknown[] = [];
    return this.#send(this.writeTo(values), values).then(onRows, onError);
  }

  /** Returns the text; the values that it refers to are added to `values`. */
  writeTo(values: unknown[]): string {
    return this.#texts.reduce((text, next, i) => text + write(this.#values[i - 1], values) + next);
  }
}

class Identifier {
  readonly quoted: string;

  constructor(name: string) {
    this.quoted = `"${name.replaceAll('"', '""')}"`;
  }
}

function write(value: unknown, values: unknown[]): string {
  if (value instanceof Statement) return value.writeTo(values);
  if (value instanceof Identifier) return value.quoted;
  return `$${values.push(value)}`;
}

function isTemplate(value: unknown): value is readonly string[] {
  return Array.isArray(value) && "raw" in value;
}
