import postgres from "postgres";
import { AppError, errors } from "../../shared/errors.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { Row, Sql } from "../../shared/store/sql.ts";
import { Combiner } from "../intake/combiner.ts";
import type { DatabaseObject, Env, LateReply, StatementCall, StatementReply } from "../env.ts";

/** The driver's error, as the object that executed the statement met it. */
class DatabaseError extends Error {
  readonly code: string | undefined;

  constructor({ name, message, code }: { name: string; message: string; code: string | null }) {
    super(message);
    this.name = name;
    this.code = code ?? undefined;
  }
}

/** The name of the object. Each has connections of its own, so the requests of one do not wait for those of another. */
type PoolName = "api" | "state";

/**
 * Postgres for one request, over the connections that an object keeps for all.
 * @param waitUntil keeps the request alive until its part in a shared call has ended
 */
export function sharedDatabase(env: Env, pool: PoolName, waitUntil: (work: Promise<unknown>) => void): Sql {
  const object = () => env.DATABASE.getByName(pool);
  return remoteSql(async (statement) => {
    const sent = isRead(statement.text)
      ? read(reads[pool], object, statement, waitUntil)
      : object().execute(statement);
    const reply = await orMoved(sent);
    if (!reply.ok) throw errorOf(reply);
    return Object.assign<Row[], { count: number }>(reply.rows, { count: reply.count });
  });
}

type Reads = Combiner<StatementCall, StatementReply | LateReply>;

/** The reads of an isolate share their calls to an object: a call costs 220 us of processor time, a share in one 40. */
const reads: Record<PoolName, Reads> = { api: newReads(), state: newReads() };

function newReads(): Reads {
  return new Combiner(({ text, values }) => ({ tenant: "", bytes: text.length + bytesOf(values) }));
}

function bytesOf(values: readonly unknown[]): number {
  return values.reduce<number>((sum, value) => sum + (typeof value === "string" ? value.length : 8), 0);
}

async function read(
  combiner: Reads,
  object: () => DatabaseObject,
  statement: StatementCall,
  waitUntil: (work: Promise<unknown>) => void,
): Promise<StatementReply> {
  const reply = await combiner.send(statement, (statements) => object().read(statements), waitUntil);
  return "late" in reply ? object().collect(reply.late) : reply;
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

type SendStatement = (statement: StatementCall) => Promise<Row[] & { count: number }>;

/** Gives the proxies their type. It is never called, and opens no connection; to make one takes half of a request's time. */
let target: Sql | undefined;

/**
 * Statements that are executed elsewhere, written as everywhere: the same functions of `shared/store` run on them.
 * Templates and their parts are all that there is: no transactions, no cursors, no helpers.
 */
function remoteSql(send: SendStatement): Sql {
  target ??= postgres({ max: 1 });
  return new Proxy(target, {
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
    return this.#send({ text: this.writeTo(values), values }).then(onRows, onError);
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
