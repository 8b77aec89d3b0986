import postgres from "postgres";
import { AppError, errors } from "../../shared/errors.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { Row, Sql } from "../../shared/store/sql.ts";
import type { Env, StatementReply } from "../env.ts";

/** The driver's error, which the object that executed the statement sent as data. */
class DatabaseError extends Error {
  readonly code: string | undefined;

  constructor({ name, message, code }: { name: string; message: string; code: string | null }) {
    super(message);
    this.name = name;
    this.code = code ?? undefined;
  }
}

/**
 * Postgres for one request, over the connections that an object keeps for all.
 * @param pool the name of the object. Each has connections of its own, so the requests of one do not wait for those of
 *   another.
 * @param tenant the tenant whose turns the statements take
 */
export function sharedDatabase(env: Env, pool: "api" | "state", tenant: string): Sql {
  const object = env.DATABASE.getByName(pool);
  return remoteSql(async (text, values) => {
    const reply = await orMoved(
      isRead(text) ? object.read(text, values, tenant) : object.execute(text, values, tenant),
    );
    if (!reply.ok) throw errorOf(reply);
    return Object.assign<Row[], { count: number }>(reply.rows, { count: reply.count });
  });
}

/** Functions that change something are called in a statement that begins with another word, or lock what they read. */
function isRead(text: string): boolean {
  return /^\s*select\b/i.test(text) && !/\bfor\s+(no\s+key\s+)?update\b/i.test(text);
}

async function orMoved(reply: Promise<StatementReply>): Promise<StatementReply> {
  try {
    return await reply;
  } catch (cause) {
    const detail = "The connection to the database was moved; try again in a moment.";
    throw new AppError("capacity", detail, { retryAfterSeconds: 1, cause });
  }
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

/**
 * An `Sql` whose statements the database object executes, so that the functions of `shared/store` work on it as on a
 * connection. It has templates and their parts, and no transactions, cursors or other functions of the driver.
 */
function remoteSql(send: SendStatement): Sql {
  // The target is never called: it gives the proxy its type, and no connection is opened for it.
  return new Proxy(postgres({ max: 1 }), {
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
