import { pgArray } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { stateStore } from "../../shared/store/state.ts";
import { JournalArchive } from "../../worker-node/reconciler/journal-archive.ts";
import { noRepairs } from "../../worker-node/reconciler/reconciler-deps.ts";
import { MemoryBucket } from "../services/memory-bucket.ts";
import { STEPS } from "./definition.ts";
import type { Row } from "./stats.ts";

/**
 * What the runs that have ended take in Postgres, with their indexes, before and after their journals are archived, and what their
 * journals take in the object store. The tables are rewritten before each look, so that only what is stored counts.
 */
export async function benchArchive(sql: Sql): Promise<Row[]> {
  await sql`update runs set ended_at = now() - interval '2 days' where ended_at is not null`;
  await sql`update archive_progress set begins_at = now(), last_ended_at = '-infinity', last_run = ''`;
  const [runs = { n: 0 }] = await sql<{ n: number }[]>`select count(*)::int as n from runs`;
  const before = await bytesOf(sql);
  const files = new MemoryBucket();
  const repairs = noRepairs();
  const startedMs = performance.now();
  const archive = new JournalArchive({ store: stateStore(sql), files: () => files, repairs }, 0);
  while (await archive.pass());
  const seconds = (performance.now() - startedMs) / 1_000;
  if (repairs.archived === 0) throw new Error("no journal was archived");
  const after = await bytesOf(sql);
  const objects = [...files.objects.values()];
  const what = `a finished run of ${STEPS} steps`;
  return [
    { what: `${what}, in Postgres`, figure: before / runs.n, unit: "bytes" },
    {
      what: `${what}, archived, in Postgres`,
      figure: after / runs.n,
      unit: "bytes",
      mark: `<= ${(before / runs.n / 3).toFixed(0)}`,
    },
    {
      what: `${what}, archived, in R2`,
      figure: objects.reduce((sum, { length }) => sum + length, 0) / repairs.archived,
      unit: "bytes",
    },
    { what: "runs of one segment", figure: repairs.archived / objects.length, unit: "runs" },
    { what: "journals archived, 1 reconciler", figure: repairs.archived / seconds, unit: "runs/s" },
  ];
}

async function bytesOf(sql: Sql): Promise<number> {
  const tables = [
    "runs",
    "journal",
    "usage",
    "waits",
    "artifacts",
    "journal_segments",
    "journals_to_archive",
  ];
  for (const table of tables) await sql`vacuum (full, analyze) ${sql(table)}`;
  const [row = { bytes: 0 }] = await sql<{ bytes: number }[]>`
    select sum(pg_total_relation_size(part.relid))::float8 as bytes
    from unnest(${pgArray(tables)}::text[]) as name
    -- A table without partitions is its own only part.
    cross join lateral (
      select relid from pg_partition_tree(name::regclass) union select name::regclass
    ) as part`;
  return row.bytes;
}
