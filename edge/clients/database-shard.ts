import { DurableObject } from "cloudflare:workers";
import { z } from "zod";
import { AppError } from "../../shared/errors.ts";
import type { Row, Sql } from "../../shared/store/sql.ts";
import { sqlState } from "../../shared/store/unreachable.ts";
import { POSTGRES_READ_MS } from "../../shared/timing.ts";
import { DatabasePool } from "./database-pool.ts";
import type { DatabaseObject, Env, StatementReply } from "../env.ts";

/** The types of values that a statement may have. */
const Values = z.array(z.union([z.string(), z.number(), z.boolean(), z.null(), z.date()]));

/** Enough for some thousand short statements a second; each costs Postgres a process. */
const CONNECTIONS = 8;

/**
 * Executes the statements of requests on connections that stay open. A request cannot use a connection that another request
 * opened, and to open one costs both sides more than most statements do. However many requests there
 * are, at most `CONNECTIONS` are open; the other statements wait. Tenants take turns: `tenant` names whose turn a
 * statement takes.
 */
export class DatabaseShard extends DurableObject<Env> implements DatabaseObject {
  readonly #pool: DatabasePool;
  /** Reads that wait for a connection, by text and values. */
  readonly #waiting = new Map<string, Promise<StatementReply>>();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#pool = new DatabasePool(env, CONNECTIONS, POSTGRES_READ_MS);
  }

  execute(text: string, values: unknown[], tenant: string): Promise<StatementReply> {
    const as = { tenant, bytes: bytesOf(text, values) };
    return replyOf(this.#pool.query((sql) => executeOn(sql, text, values), as));
  }

  /**
   * As `execute`, for a statement that only reads. Equal ones that wait share one execution: it begins after all of them
   * have arrived, so none sees less than it would alone. One that has begun is not shared.
   */
  read(text: string, values: unknown[], tenant: string): Promise<StatementReply> {
    // Tenants do not share an execution: the turn of one may come later than that of the other.
    const name = JSON.stringify([tenant, text, values]);
    const known = this.#waiting.get(name);
    if (known) return known;
    let waits = true;
    const end = () => {
      waits = false;
      this.#waiting.delete(name);
    };
    const query = this.#pool.repeatable(
      (sql) => {
        end();
        return executeOn(sql, text, values);
      },
      { tenant, bytes: name.length },
    );
    const reply = replyOf(query).finally(() => waits && end());
    if (waits) this.#waiting.set(name, reply);
    return reply;
  }
}

/** About how many bytes the statement takes while it waits. */
function bytesOf(text: string, values: readonly unknown[]): number {
  return values.reduce<number>(
    (sum, value) => sum + (typeof value === "string" ? value.length : 8),
    text.length,
  );
}

type Rows = { rows: Row[]; count: number };

async function executeOn(sql: Sql, text: string, values: unknown[]): Promise<Rows> {
  const rows = await sql.unsafe<Row[]>(text, Values.parse(values), { prepare: true });
  return { rows: Array.from(rows, (row) => ({ ...row })), count: rows.count };
}

/** The reply to a query. An error is sent as data: between two objects it would lose its class and its code. */
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
