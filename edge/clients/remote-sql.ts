import postgres from "postgres";
import type { Row, Sql } from "../../shared/store/sql.ts";

/** Executes a statement's text, which has $1, $2 … in place of its values. */
export type SendStatement = (text: string, values: unknown[]) => Promise<Row[] & { count: number }>;

/**
 * Statements that are executed elsewhere, written as everywhere: the same functions of `shared/store` run on them.
 * Templates and their parts are all that there is: no transactions, no cursors, no helpers.
 */
export function remoteSql(send: SendStatement): Sql {
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
