import { segmentKey } from "../../shared/archive/read-archive.ts";
import { PartBuilder } from "../../shared/archive/segment.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { log } from "../../shared/log.ts";
import type { StoredSegment } from "../../shared/store/archive/archive-journals.ts";
import type { JournalBatch } from "../../shared/store/archive/queue-journals.ts";
import { deleteObjects } from "../files/delete-objects.ts";
import type { FileStore } from "../files/file-store.ts";
import type { RepairDeps } from "./reconciler-deps.ts";

const FIRST_MS = 60_000;
const PERIOD_MS = 60_000;
/** A pass begins no further segment after this time, because the repairs of runs wait meanwhile. */
const SLICE_MS = 2_000;

/**
 * docs/protocol.md 7.14. Guarantee: the journal of a run that ended long ago is in exactly one of two places, Postgres or a segment in
 * the object store, with the same bytes. A segment is stored before the statement that refers to it and deletes the rows.
 */
export class JournalArchive {
  readonly #deps: Pick<RepairDeps, "store" | "files" | "repairs">;
  #nextMs: number;
  /** The tenant whose journals were archived last: tenants take turns. */
  #after = "";

  /** @param firstMs the time until the first pass may begin */
  constructor(deps: Pick<RepairDeps, "store" | "files" | "repairs">, firstMs = FIRST_MS) {
    this.#deps = deps;
    this.#nextMs = performance.now() + firstMs;
  }

  /** @returns true when journals are left that can be archived now */
  async pass(): Promise<boolean> {
    const { store } = this.#deps;
    const files = this.#deps.files();
    const startedMs = performance.now();
    if (files === null || startedMs < this.#nextMs) return false;
    let hasMore = await store.queueEndedRuns();
    while (performance.now() - startedMs < SLICE_MS) {
      const batch = await this.#nextBatch();
      if (batch === null) {
        if (!hasMore) break;
        hasMore = await store.queueEndedRuns();
      } else if (batch.runs.length > 0) await this.#archive(files, batch);
    }
    const isDone = performance.now() - startedMs < SLICE_MS;
    if (isDone) this.#nextMs = startedMs + PERIOD_MS;
    await this.#deleteUnused(files);
    return !isDone;
  }

  async #nextBatch(): Promise<JournalBatch | null> {
    const batch = await this.#deps.store.claimJournals(this.#after);
    if (batch === null && this.#after !== "") {
      this.#after = "";
      return this.#nextBatch();
    }
    this.#after = batch?.tenant_id ?? "";
    return batch;
  }

  async #archive(files: FileStore, batch: JournalBatch): Promise<void> {
    const { store, repairs } = this.#deps;
    const { parts, bytes, torn } = await this.#build(batch);
    if (torn.length > 0) {
      log.error("archive.journal_torn", { tenant: batch.tenant_id, runs: torn.join(" ") });
      await store.postponeJournals(torn);
    }
    if (parts.length === 0) return;
    const key = segmentKey(batch.tenant_id, batch.segment_id);
    await files.putStream(key, streamOf(bytes), "application/octet-stream");
    // After the put, never before: from this statement on the segment is the only place of these journals.
    repairs.archived += await store.recordSegment({ segment_id: batch.segment_id, parts });
  }

  /** Reads the journals, a page at a time, and holds them compressed. `torn`: runs whose rows are not all of their entries. */
  async #build({ runs, joins }: JournalBatch) {
    const builders = new Map(runs.map(({ run_id }) => [run_id, new PartBuilder(run_id, { joins })]));
    const ids = runs.map(({ run_id }) => run_id);
    for (let after = { run_id: "", seq: 0 }; ;) {
      const rows = await this.#deps.store.readJournals(ids, after);
      const last = rows.at(-1);
      if (last === undefined) break;
      for (const { run_id, ...entry } of rows) await builders.get(run_id)?.add(entry);
      after = { run_id: last.run_id, seq: last.seq };
    }
    const parts: StoredSegment["parts"] = [];
    const bytes: Uint8Array[] = [];
    const torn: RunId[] = [];
    let offset = 0;
    for (const { run_id, event_seq } of runs) {
      const chunks = await builders.get(run_id)?.finish(event_seq);
      if (!chunks) {
        torn.push(run_id);
        continue;
      }
      const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      parts.push({ run_id, event_seq, offset, length });
      bytes.push(...chunks);
      offset += length;
    }
    return { parts, bytes, torn };
  }

  async #deleteUnused(files: FileStore): Promise<void> {
    const { store } = this.#deps;
    const unused = await store.takeUnusedSegments();
    const idOf = new Map(
      unused.map(({ tenant_id, segment_id }) => [segmentKey(tenant_id, segment_id), segment_id]),
    );
    const deleted = await deleteObjects(files, [...idOf.keys()]);
    // The objects first: when the worker dies here, the next pass deletes them again.
    const forgotten = [...idOf].flatMap(([key, id]) => (deleted.has(key) ? [id] : []));
    if (forgotten.length > 0) await store.forgetSegments(forgotten);
  }
}

async function* streamOf(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
