import { UploadId, uploadKey } from "../../shared/contracts/artifact.ts";
import { deleteObjects } from "../files/delete-objects.ts";
import type { FileStore } from "../files/file-store.ts";
import type { RepairDeps } from "./reconciler-deps.ts";

/** An object is looked up at this age: it is far beyond every step's time, and beyond every difference of two clocks. */
const SAFE_AGE_MS = 24 * 3_600_000;
const FIRST_MS = 60_000;
const PERIOD_MS = 6 * 3_600_000;

/**
 * docs/protocol.md 7.13. Guarantee: the object store keeps nothing that no row of Postgres refers to.
 *
 * Each pass deletes the uploads that are due. Every six hours the sweep reads all keys of the bucket, a page in a pass; after a failure it goes
 * on where it was. It deletes
 * the objects of calls that were never committed, those of runs that retention has deleted, and those that are older than their tenant
 * keeps them. It never deletes an object of a run or an upload that this database does not know: the bucket may serve another
 * database too.
 */
export class FileSweep {
  readonly #deps: Pick<RepairDeps, "store" | "files" | "repairs">;
  /** The last key that the sweep under way has read; null: no sweep is under way. */
  #after: string | null = null;
  #nextMs = performance.now() + FIRST_MS;

  constructor(deps: Pick<RepairDeps, "store" | "files" | "repairs">) {
    this.#deps = deps;
  }

  async pass(): Promise<void> {
    const files = this.#deps.files();
    if (files === null) return;
    await this.#deleteExpired(files);
    if (this.#after === null && performance.now() < this.#nextMs) return;
    const page = await pageAfter(files, this.#after ?? "");
    const last = page.at(-1);
    if (last === undefined) {
      this.#after = null;
      this.#nextMs = performance.now() + PERIOD_MS;
      return;
    }
    // Before its orphans are deleted: a page on which that always fails does not stop the sweep.
    this.#after = last.key;
    await this.#deleteOrphans(files, page);
  }

  async #deleteExpired(files: FileStore): Promise<void> {
    const { store } = this.#deps;
    const expired = await store.takeExpiredUploads();
    if (expired.length === 0) return;
    const idOf = new Map(
      expired.map(({ tenant_id, upload_id }) => {
        const id = UploadId.parse(upload_id);
        return [uploadKey(tenant_id, id), id];
      }),
    );
    const deleted = await deleteObjects(files, [...idOf.keys()]);
    // The objects first: when the worker dies here, the next pass deletes them again.
    await store.forgetUploads([...idOf].flatMap(([key, id]) => (deleted.has(key) ? [id] : [])));
  }

  async #deleteOrphans(files: FileStore, page: Page): Promise<void> {
    const old = page.flatMap(({ key, ageMs }) => (ageMs > SAFE_AGE_MS ? [key] : []));
    if (old.length === 0) return;
    await deleteObjects(files, await this.#deps.store.takeExpiredObjects(old));
    const orphans = await deleteObjects(files, await this.#deps.store.findOrphans(old));
    this.#deps.repairs.orphans += orphans.size;
  }
}

type Page = { key: string; ageMs: number }[];

/** The keys after `after`, a page of them; empty: there are none. */
async function pageAfter(files: FileStore, after: string): Promise<Page> {
  for await (const page of files.list("", after)) return page;
  return [];
}
