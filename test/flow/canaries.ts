/** Planted secrets, and the contents of all places where a system under test stores data. */
import { vi } from "vitest";
import type { FlowApi } from "./api.ts";

/** Planted secrets, by a name that says what each one protects. */
export type Canaries = { readonly [field: string]: string };

/** All that the edge of this process logs from now on, until `vi.restoreAllMocks()`. */
export function edgeLog(): string[] {
  const lines: string[] = [];
  for (const level of ["log", "error", "warn", "info"] as const) {
    const write = console[level].bind(console);
    vi.spyOn(console, level).mockImplementation((...parts: unknown[]) => {
      lines.push(parts.map(String).join(" "));
      write(...parts);
    });
  }
  return lines;
}

/** One sentence for each canary that was found in a place, with the text around it. */
export function leaksOf(places: { readonly [place: string]: string }, canaries: Canaries): string[] {
  return Object.entries(places).flatMap(([place, text]) =>
    Object.entries(canaries).flatMap(([field, canary]) => {
      const at = text.indexOf(canary);
      return at < 0 ? [] : [`${place} has ${field}: ${text.slice(Math.max(0, at - 200), at + 60)}`];
    }),
  );
}

/** The text of every row of every table. */
export async function everyRow({ stores: { sql } }: FlowApi): Promise<string> {
  const tables = await sql<{ name: string }[]>`
    select table_name as name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'`;
  const rows = await Promise.all(tables.map(({ name }) => sql`select t::text as row from ${sql(name)} t`));
  return JSON.stringify(rows.flat());
}

/** Every key of Redis, with its value. */
export async function everyKey({ stores: { redis } }: FlowApi): Promise<string> {
  const read: { [type: string]: (key: string) => Promise<unknown> } = {
    string: (key) => redis.get(key),
    hash: (key) => redis.hgetall(key),
    list: (key) => redis.lrange(key, 0, -1),
    set: (key) => redis.smembers(key),
    zset: (key) => redis.zrange(key, "0", "-1"),
    stream: (key) => redis.xrange(key, "-", "+"),
  };
  const keys = await redis.keys("*");
  const values = await Promise.all(keys.map(async (key) => [key, await read[await redis.type(key)]?.(key)]));
  return JSON.stringify(values);
}
