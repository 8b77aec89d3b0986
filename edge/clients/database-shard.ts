import { DurableObject } from "cloudflare:workers";
import { z } from "zod";
import { AppError } from "../../shared/errors.ts";
import type { Row, Sql } from "../../shared/store/sql.ts";
import { sqlState } from "../../shared/store/unreachable.ts";
import { POSTGRES_READ_MS } from "../../shared/timing.ts";
import { DatabasePool } from "./database-pool.ts";
import type { DatabaseObject, Env, LateReply, StatementCall, StatementReply } from "../env.ts";

/** What a statement of the API may have for values. */
const Values = z.array(z.union([z.string(), z.number(), z.boolean(), z.null(), z.date()]));

/** Enough for some thousand short statements a second; each costs Postgres a process. */
const CONNECTIONS = 8;

/** A call is answered after this time: a slow statement delays those that came with it by no more. */
const CALL_MS = 20;

/** A reply that is not collected by then belongs to a request that has ended. */
const COLLECT_MS = 10_000;

/**
 * Executes the statements of requests on connections that are kept: a connection belongs to the request, or to the
 * object, that opened it, and to open one costs both sides more than most statements do. However many requests there
 * are, at most `CONNECTIONS` are open; the other statements wait.
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
    return replyOf(this.#pool.query((sql) => executeOn(sql, statement)));
  }

  /** A call between objects costs more than a short statement, so requests send theirs together. */
  async read(statements: StatementCall[]): Promise<(StatementReply | LateReply)[]> {
    const replies = statements.map((statement) => this.#read(statement));
    const outcomes: (StatementReply | null)[] = replies.map(() => null);
    const all = Promise.all(replies.map(async (reply, i) => void (outcomes[i] = await reply)));
    const { promise: tooLong, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, CALL_MS);
    await Promise.race([all, tooLong]);
    clearTimeout(timer);
    return Promise.all(replies.map((reply, i) => outcomes[i] ?? { late: this.#late.add(reply) }));
  }

  collect(late: number): Promise<StatementReply> {
    return this.#late.take(late);
  }

  /**
   * Equal reads that wait share one execution: it begins after all of them have arrived, so none sees less than it would
   * alone. One that has begun is not shared.
   */
  #read(statement: StatementCall): Promise<StatementReply> {
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
    });
    const reply = replyOf(query).finally(() => waits && end());
    if (waits) this.#waiting.set(name, reply);
    return reply;
  }
}

/** Replies that requests have yet to collect. */
class LateReplies {
  readonly #replies = new Map<number, { reply: Promise<StatementReply>; addedMs: number }>();
  #added = 0;

  add(reply: Promise<StatementReply>): number {
    const nowMs = Date.now();
    // In the order in which they were added.
    for (const [late, { addedMs }] of this.#replies) {
      if (nowMs - addedMs < COLLECT_MS) break;
      this.#replies.delete(late);
    }
    this.#replies.set(++this.#added, { reply, addedMs: nowMs });
    return this.#added;
  }

  /** @throws Error when it was collected before, or too late */
  take(late: number): Promise<StatementReply> {
    const known = this.#replies.get(late);
    if (!known) throw new Error(`there is no late reply ${late}`);
    this.#replies.delete(late);
    return known.reply;
  }
}

type Rows = { rows: Row[]; count: number };

async function executeOn(sql: Sql, { text, values }: StatementCall): Promise<Rows> {
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
