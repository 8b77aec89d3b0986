import { AppError, errors } from "../../shared/errors.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { Row, Sql } from "../../shared/store/sql.ts";
import { remoteSql } from "./remote-sql.ts";
import type { Env, StatementReply } from "../env.ts";

/** The driver's error, as the object that executed the statement met it. */
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
 * @param tenant whose turn its statements take
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
