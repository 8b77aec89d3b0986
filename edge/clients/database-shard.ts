import { DurableObject } from "cloudflare:workers";
import { z } from "zod";
import { AppError } from "../../shared/errors.ts";
import type { Row, Sql } from "../../shared/store/sql.ts";
import { sqlState } from "../../shared/store/unreachable.ts";
import { POSTGRES_READ_MS } from "../../shared/timing.ts";
import { DatabasePool } from "./database-pool.ts";
import type { DatabaseObject, Env, StatementReply } from "../env.ts";

/** What a statement of the API may have for values. */
const Values = z.array(z.union([z.string(), z.number(), z.boolean(), z.null(), z.date()]));

/** Enough for some thousand short statements a second; each costs Postgres a process. */
const CONNECTIONS = 8;

/**
 * Executes the statements of requests on connections that are kept: a connection belongs to the request, or to the
 * object, that opened it, and to open one costs both sides more than most statements do. However many requests there
 * are, at most `CONNECTIONS` are open; the other statements wait.
 */
export class DatabaseShard extends DurableObject<Env> implements DatabaseObject {
  readonly #pool: DatabasePool;
  /** Reads that wait for a connection, by text and values. */
  readonly #waiting = new Map<string, Promise<StatementReply>>();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#pool = new DatabasePool(env, CONNECTIONS, POSTGRES_READ_MS);
  }

  execute(text: string, values: unknown[]): Promise<StatementReply> {
    return replyOf(this.#pool.query((sql) => executeOn(sql, text, values)));
  }

  /**
   * As `execute`, for a statement that only reads. Equal ones that wait share one execution: it begins after all of them
   * have arrived, so none sees less than it would alone. One that has begun is not shared.
   */
  read(text: string, values: unknown[]): Promise<StatementReply> {
    const name = JSON.stringify([text, values]);
    const known = this.#waiting.get(name);
    if (known) return known;
    let waits = true;
    const end = () => {
      waits = false;
      this.#waiting.delete(name);
    };
    const query = this.#pool.repeatable((sql) => {
      end();
      return executeOn(sql, text, values);
    });
    const reply = replyOf(query).finally(() => waits && end());
    if (waits) this.#waiting.set(name, reply);
    return reply;
  }
}

type Rows = { rows: Row[]; count: number };

async function executeOn(sql: Sql, text: string, values: unknown[]): Promise<Rows> {
  const rows = await sql.unsafe<Row[]>(text, Values.parse(values), { prepare: true });
  return { rows: Array.from(rows, (row) => ({ ...row })), count: rows.count };
}

/** An error loses its class and its code on its way between two objects, so it goes as data. */
async function replyOf(query: Promise<Rows>): Promise<StatementReply> {
  try {
    return { ok: true, ...(await query) };
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    const retryAfterSeconds = error instanceof AppError ? error.retryAfterSeconds : undefined;
    return {
      ok: false,
      name,
      message,
      code: error instanceof AppError ? error.code : (sqlState(error) ?? null),
      retryAfterSeconds: retryAfterSeconds ?? null,
    };
  }
}
