import type { Sql } from "../../shared/store/sql.ts";
import { postgresAttributes } from "../../shared/tracing/store-attributes.ts";
import { inChildSpan } from "../tracing/current-span.ts";

/** Executes a statement in a span with its verb and table as name: `postgres INSERT runs`. */
export function inSqlSpan<Result>(text: string, work: () => Promise<Result>): Promise<Result> {
  return inChildSpan("postgres", { kind: "client" }, (span) => {
    const summary = span && summaryOf(text);
    if (summary) {
      span.rename(`postgres ${summary}`);
      span.set(postgresAttributes(summary));
    }
    return work();
  });
}

/** As `inSqlSpan`, for a function that sends statements on `sql`. The last statement names the span. */
export function inQuerySpan<Result>(sql: Sql, query: (sql: Sql) => Promise<Result>): Promise<Result> {
  return inChildSpan("postgres", { kind: "client" }, (span) => {
    if (span === null) return query(sql);
    const named = new Proxy(sql, {
      apply(target, self, parts: unknown[]) {
        const [template] = parts;
        if (Array.isArray(template) && "raw" in template) {
          const summary = summaryOf(template.join(" "));
          span.rename(`postgres ${summary}`);
          span.set(postgresAttributes(summary));
        }
        return Reflect.apply(target, self, parts);
      },
    });
    return query(named);
  });
}

/** The statement's verb and table: those of its first INSERT, UPDATE or DELETE; otherwise SELECT and the first table that it reads. */
function summaryOf(text: string): string {
  const write = /\b(insert\s+into|update|delete\s+from)\s+(?!of\b|set\b|skip\b)([a-z_]+)/i.exec(text);
  const read = write ?? /\b(from)\s+([a-z_]+)/i.exec(text);
  const verb = write ? (write[1]?.split(/\s/)[0] ?? "") : "select";
  return `${verb.toUpperCase()} ${read?.[2] ?? ""}`.trim();
}
