import type { Redis } from "ioredis";
import type { Sql } from "../../shared/store/sql.ts";
import { latencyRows, timed } from "./stats.ts";
import type { Row } from "./stats.ts";

/** The best figures that this machine reaches, measured in the same run as the product's figures. */
export async function floors(sql: Sql, redis: Redis): Promise<{ rows: Row[]; commitMs: number }> {
  await sql`create table if not exists bench_floor (run_id text, seq int, body text)`;
  const body = "x".repeat(500);
  const pings = await timed(1_000, () => redis.ping());
  const commits = await timed(300, (i) => sql`insert into bench_floor values ('one', ${i}, ${body})`);
  const hundreds = await timed(
    100,
    (i) => sql`insert into bench_floor select 'many', ${i} + n, ${body} from generate_series(1, 100) n`,
  );
  const rows = [
    ...latencyRows("floor: Redis PING", pings),
    ...latencyRows("floor: one Postgres commit", commits),
    ...latencyRows("floor: one commit of 100 rows", hundreds),
  ];
  return { rows, commitMs: rows[2]?.figure ?? NaN };
}
