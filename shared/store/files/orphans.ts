import { isFileKey } from "../../contracts/artifact.ts";
import { RunId } from "../../contracts/ids.ts";
import { ofDays } from "../journal/journal-days.ts";
import { percentDecoded } from "../../http/percent-decoded.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** The places of objects that one attempt stores: the end of its run with the attempt, and a visit of a step with the attempt. */
const END = /^end\.(\d{1,9})$/;
const VISIT = /^(\d{1,9})\.(\d{1,9})$/;

type Parts = {
  key: string;
  tenant: string;
  run: RunId;
  is_file: boolean;
  step_path: string | null;
  visit: number | null;
  attempt: number;
};

/**
 * Of objects that were stored long ago, those that nothing refers to: a file without a row, and a value of a visit, or of an end,
 * whose attempt has committed no entry there.
 *
 * Three kinds of objects are no orphans: those of the attempt that moves its run now, which may still commit them; those of a run that
 * does not exist, which may belong to another database; and those of a run whose journal is in the archive, because this statement
 * does not see its entries.
 */
export async function findOrphans(sql: Sql, keys: readonly string[]): Promise<string[]> {
  const parts = keys.flatMap((key) => partsOf(key) ?? []);
  if (parts.length === 0) return [];
  const column = (read: (part: Parts) => string | number | null) => pgArray(parts.map(read));
  const days = ofDays(
    sql,
    parts.map(({ run }) => run),
    "j",
  );
  const rows = await sql<{ key: string }[]>`
    select k.key from unnest(
      ${column((p) => p.key)}::text[], ${column((p) => p.tenant)}::text[], ${column((p) => p.run)}::text[],
      ${column((p) => (p.is_file ? 1 : 0))}::int[], ${column((p) => p.step_path)}::text[], ${column((p) => p.visit)}::int[],
      ${column((p) => p.attempt)}::int[]
    ) as k(key, tenant, run, is_file, step_path, visit, attempt)
    join runs r on r.run_id = k.run and r.tenant_id = k.tenant
    where not (r.owner is not null and r.attempt = k.attempt) and r.archive_segment is null and case
      when k.is_file = 1 then not exists (select from artifacts a where a.run_id = k.run and a.object_key = k.key)
      else not exists (
        select from journal j where j.run_id = k.run and ${days} and j.attempt = k.attempt
          and (k.visit is null and j.kind = 'end' or j.step_path = k.step_path and j.visit = k.visit))
      end`;
  return rows.map(({ key }) => key);
}

/** The parts of the key of an object that one attempt of a run has stored; null: it is another one, such as a run's input. */
function partsOf(key: string): Parts | null {
  const [tenant = "", first = "", ...place] = key.split("/");
  const run = RunId.safeParse(first);
  if (!run.success) return null;
  const parts = { key, tenant, run: run.data, is_file: isFileKey(key) };
  const [, ended] = END.exec(place[0] ?? "") ?? [];
  if (place.length === 2 && ended !== undefined) {
    return { ...parts, step_path: null, visit: null, attempt: Number(ended) };
  }
  const [, visit, attempt] = VISIT.exec(place[1] ?? "") ?? [];
  const step_path = percentDecoded(place[0] ?? "");
  if (place.length !== 3 || visit === undefined || step_path === null) return null;
  return { ...parts, step_path, visit: Number(visit), attempt: Number(attempt) };
}
