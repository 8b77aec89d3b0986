import { UploadId, uploadKey } from "../../shared/contracts/artifact.ts";
import { deleteObjects } from "../files/delete-objects.ts";
import type { FileStore } from "../files/file-store.ts";
import type { RepairDeps } from "./reconciler-deps.ts";

/** An object is looked up at this age: it is far beyond every step's time, and beyond every difference of two clocks. */
const SAFE_AGE_MS = 24 * 3_600_000;

/**
 * docs/protocol.md 7.13. Guarantee: the object store keeps nothing that no row of Postgres refers to.
 *
 * Each pass deletes the uploads that are due. Every six hours the sweep reads all keys of the bucket, a page in a pass; its position
 * is stored, so after a failure it goes on where it was, also in another worker. It deletes the objects of calls that were never
 * committed, those of runs that retention has deleted, and those that are older than their tenant keeps them. It never deletes an object of a run or an upload that this database does not know: the bucket may serve another
 * database too.
 */
export class FileSweep {
  readonly #deps: Pick<RepairDeps, "store" | "files" | "repairs">;

  constructor(deps: Pick<RepairDeps, "store" | "files" | "repairs">) {
    this.#deps = deps;
  }

  async pass(): Promise<void> {
    const files = this.#deps.files();
    if (files === null) return;
    await this.#deleteExpired(files);
    const after = await this.#deps.store.readSweep();
    if (after === null) return;
    const page = await pageAfter(files, after);
    const swept = { last: page.at(-1)?.key ?? null, isWhole: false };
    try {
      swept.isWhole = await this.#deleteOrphans(files, page);
    } finally {
      // After a failure too: a page whose orphans cannot be deleted does not stop the sweep.
      await this.#deps.store.saveSweep(swept);
    }
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

  /** @returns whether nothing is left of what a tenant's policy or the deletion of its run has ended */
  async #deleteOrphans(files: FileStore, page: Page): Promise<boolean> {
    const old = page.flatMap(({ key, ageMs }) => (ageMs > SAFE_AGE_MS ? [key] : []));
    if (old.length === 0) return true;
    const expired = await this.#deps.store.takeExpiredObjects(old);
    const deleted = await deleteObjects(files, expired);
    const orphans = await deleteObjects(files, await this.#deps.store.findOrphans(old));
    this.#deps.repairs.orphans += orphans.size;
    return deleted.size === expired.length;
  }
}

type Page = { key: string; ageMs: number }[];

/** The keys after `after`, a page of them; empty: there are none. */
async function pageAfter(files: FileStore, after: string): Promise<Page> {
  for await (const page of files.list("", after)) return page;
  return [];
}
