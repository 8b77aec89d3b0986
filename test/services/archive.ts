import { vi } from "vitest";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { stateStore } from "../../shared/store/state.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { FileStore } from "../../worker-node/files/file-store.ts";
import { JournalArchive } from "../../worker-node/reconciler/journal-archive.ts";
import { noRepairs } from "../../worker-node/reconciler/reconciler-deps.ts";

/** Lets a run have ended this many hours ago, in a database that archives journals already. */
export async function ageEnd(sql: Sql, run: RunId, hours = 48): Promise<void> {
  await sql`update archive_progress set begins_at = now(), joins_at = now()`;
  await sql`update runs set ended_at = now() - ${hours} * interval '1 hour' where run_id = ${run}`;
}

/** The first pass of a reconciler over the archive. @returns how many journals it has archived */
export async function archivePass(
  sql: Sql,
  files: FileStore,
  store: StateStore = stateStore(sql),
): Promise<number> {
  const repairs = noRepairs();
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    const archive = new JournalArchive({ store, files: () => files, repairs });
    vi.advanceTimersByTime(61_000);
    await archive.pass();
  } finally {
    vi.useRealTimers();
  }
  return repairs.archived;
}
