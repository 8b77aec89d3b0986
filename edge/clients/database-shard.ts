import { DurableObject } from "cloudflare:workers";
import { z } from "zod";
import { AppError } from "../../shared/errors.ts";
import type { Row, Sql } from "../../shared/store/sql.ts";
import { sqlState } from "../../shared/store/unreachable.ts";
import { POSTGRES_READ_MS } from "../../shared/timing.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { DatabasePool } from "./database-pool.ts";
import { connectionMoved, sizeOfStatement } from "./database.ts";
import type { DatabaseObject, Env, LateReply, StatementCall, StatementReply } from "../env.ts";

/** The types of values that a statement may have. */
const Values = z.array(z.union([z.string(), z.number(), z.boolean(), z.null(), z.date()]));

/** Enough for some thousand short statements a second; each costs Postgres a process. */
const CONNECTIONS = 8;

/** A call is answered after this time at the latest, so a slow statement delays the others of its call by no more. */
const CALL_MS = 20;

/** A late reply that is not collected within this time belongs to a request that has ended. */
const COLLECT_MS = 10_000;

/**
 * Executes the statements of requests on connections that stay open. A request cannot use a connection that another request opened,
 * and opening one costs both sides more than most statements do. However many requests there are, at most `CONNECTIONS` are open;
 * other statements wait. Tenants take turns: `tenant` names the tenant whose turn a statement takes.
 */
export class DatabaseShard extends DurableObject<Env> implements DatabaseObject {
  readonly #pool: DatabasePool;
  /** Reads that wait for a connection, by text and values. */
  readonly #waiting = new Map<string, Promise<StatementReply>>();
  readonly #late = new LateReplies();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#pool = new DatabasePool(env, CONNECTIONS, POSTGRES_READ_MS);
  }

  execute(statement: StatementCall): Promise<StatementReply> {
    return replyOf(this.#pool.query((sql) => executeOn(sql, statement), sizeOfStatement(statement)));
  }

  /** Requests send their statements together, because a call between objects costs more than a short statement. */
  read(statements: StatementCall[]): Promise<(StatementReply | LateReply)[]> {
    return this.#inTime(statements.map((statement) => this.#read(statement)));
  }

  collect(late: LateReply[]): Promise<(StatementReply | LateReply)[]> {
    return this.#inTime(late.map((name) => this.#late.take(name)));
  }

  async #inTime(replies: readonly Promise<StatementReply>[]): Promise<(StatementReply | LateReply)[]> {
    const known: (StatementReply | null)[] = replies.map(() => null);
    const all = Promise.all(replies.map(async (reply, i) => void (known[i] = await reply)));
    const { promise: tooLong, resolve } = Promise.withResolvers<void>();
    // Not cleared: a cleared timer keeps memory for as long as this object lives (`findings/workerd-cleared-timer-stays.sh`).
    setTimeout(resolve, CALL_MS);
    await Promise.race([all, tooLong]);
    return replies.map((reply, i) => known[i] ?? this.#late.add(reply));
  }

  /**
   * Equal reads that wait share one execution. It begins after all of them have arrived, so no read sees less than it would alone. An
   * execution that has begun is not shared any more.
   */
  #read(statement: StatementCall): Promise<StatementReply> {
    // The tenant is part of the name: tenants share no execution, because their turns come at different times.
    const name = JSON.stringify(statement);
    const known = this.#waiting.get(name);
    if (known) return known;
    let waits = true;
    const end = () => {
      waits = false;
      this.#waiting.delete(name);
    };
    const query = this.#pool.repeatable((sql) => {
      end();
      return executeOn(sql, statement);
    }, sizeOfStatement(statement));
    const reply = replyOf(query).finally(() => waits && end());
    if (waits) this.#waiting.set(name, reply);
    return reply;
  }
}

/** Replies that requests have yet to collect. */
class LateReplies {
  readonly #replies = new Map<string, { reply: Promise<StatementReply>; addedMs: number }>();

  add(reply: Promise<StatementReply>): LateReply {
    const nowMs = elapsedMs();
    // The map is in the order of additions, so the oldest replies come first.
    for (const [late, { addedMs }] of this.#replies) {
      if (nowMs - addedMs < COLLECT_MS) break;
      this.#replies.delete(late);
    }
    // Random, not a count: after a move of this object a count would give a request the reply to a statement of another tenant.
    const late = crypto.randomUUID();
    this.#replies.set(late, { reply, addedMs: nowMs });
    return { late };
  }

  take({ late }: LateReply): Promise<StatementReply> {
    const known = this.#replies.get(late);
    this.#replies.delete(late);
    return known ? known.reply : replyOf(Promise.reject(connectionMoved()));
  }
}

type Rows = { rows: Row[]; count: number };

async function executeOn(sql: Sql, { text, values }: StatementCall): Promise<Rows> {
  const rows = await sql.unsafe<Row[]>(text, Values.parse(values), { prepare: true });
  return { rows: Array.from(rows, (row) => ({ ...row })), count: rows.count };
}

/** The reply to a query. An error becomes data, because a call between two objects would lose its class and its code. */
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
