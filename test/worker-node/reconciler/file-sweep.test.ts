import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { newUploadId, uploadKey } from "../../../shared/contracts/artifact.ts";
import { newRunId } from "../../../shared/contracts/ids.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { takeExpiredObjects } from "../../../shared/store/files/expired-objects.ts";
import { readSweep, saveSweep } from "../../../shared/store/files/object-sweep.ts";
import type { SweptPage } from "../../../shared/store/files/object-sweep.ts";
import { FileSweep } from "../../../worker-node/reconciler/file-sweep.ts";
import { noRepairs } from "../../../worker-node/reconciler/reconciler-deps.ts";
import { MemoryBucket } from "../../services/memory-bucket.ts";
import { acme, openStore } from "../../shared/store/store-fixture.ts";
import type { Store } from "../../shared/store/store-fixture.ts";
import { refusingStore } from "../fakes.ts";

let database: Store;
beforeAll(async () => {
  database = await openStore();
});
afterAll(() => database.close());
afterEach(() => vi.restoreAllMocks());

/** A store whose sweep has no objects to delete. */
const storeOf = () => ({
  ...refusingStore,
  takeExpiredUploads: async () => [],
  readSweep: () => readSweep(database.sql),
  saveSweep: (page: SweptPage) => saveSweep(database.sql, page),
});

const withoutSweep = { ...refusingStore, readSweep: async () => null };

// Fails when the first uploads that cannot be deleted end the deletions: the rows of all others of its page would stay with it.
test("uploads that the store refuses to delete do not stop the deletion of others", async () => {
  // More than are deleted at the same time.
  const [locked, free] = [Array.from({ length: 20 }, newUploadId), newUploadId()];
  const bucket = new MemoryBucket();
  for (const id of locked) bucket.locked.add(uploadKey(acme, id));
  const forgotten: string[] = [];
  const store = {
    ...withoutSweep,
    takeExpiredUploads: async () => [...locked, free].map((upload_id) => ({ upload_id, tenant_id: acme })),
    forgetUploads: async (ids: readonly string[]) => {
      forgotten.push(...ids);
      return null;
    },
  };
  await new FileSweep({ store, files: () => bucket, repairs: noRepairs() }).pass();
  expect(forgotten).toEqual([free]);
});

// Fails when the deletions go on without a store: each of them would wait for its own time.
test("a store that answers no deletion gets no more than those of one moment", async () => {
  const uploads = Array.from({ length: 100 }, newUploadId);
  const bucket = new MemoryBucket();
  bucket.isAway = true;
  const tried = vi.spyOn(bucket, "delete");
  const store = {
    ...refusingStore,
    takeExpiredUploads: async () => uploads.map((upload_id) => ({ upload_id, tenant_id: acme })),
  };
  const sweep = new FileSweep({ store, files: () => bucket, repairs: noRepairs() });
  await expect(sweep.pass()).rejects.toThrow("does not answer");
  expect(tried).toHaveBeenCalledTimes(16);
});

// Fails when a failed request, or another reconciler, begins the sweep anew: of a large bucket, of which some request always fails, the last
// objects would stay for ever.
test("the sweep goes on after the last page that it has read when the store fails in between, also in another worker", async () => {
  const bucket = new MemoryBucket();
  for (const key of ["a", "b", "c"]) bucket.objects.set(`acme/${key}`, new Uint8Array());
  const begun: string[] = [];
  const list = async function* (prefix: string, after = "") {
    begun.push(after);
    if (begun.length === 2) throw new Error("the store does not answer");
    for await (const page of bucket.list(prefix, after)) yield page.slice(0, 1);
  };
  const files = Object.assign(new MemoryBucket(), { list });
  const passOfWorker = () =>
    new FileSweep({ store: storeOf(), files: () => files, repairs: noRepairs() }).pass();
  await passOfWorker();
  await expect(passOfWorker()).rejects.toThrow("does not answer");
  for (let pages = 0; pages < 4; pages++) await passOfWorker();
  expect(begun).toEqual(["", "acme/a", "acme/a", "acme/b", "acme/c"]);
});

// Fails when a run is forgotten while the bucket still has its objects: no sweep knows any more that they are to be deleted.
test("a deleted run is forgotten a week later, and not before a sweep has deleted all its objects", async () => {
  const { sql } = database;
  await sql`update object_sweep set whole_since = null`;
  const deletedRuns = async () => {
    await deleteExpired(sql);
    return (await sql<{ run_id: string }[]>`select run_id from deleted_runs`).map(({ run_id }) => run_id);
  };
  const run = newRunId(1_800_000_000_000);
  await sql`insert into deleted_runs (run_id, tenant_id, deleted_at) values (${run}, ${acme}, now() - interval '8 days')`;
  const bucket = new MemoryBucket();
  const key = `acme/${run}/a/1.1/set.x`;
  bucket.objects.set(key, new Uint8Array());
  bucket.locked.add(key);
  const list = bucket.list.bind(bucket);
  vi.spyOn(bucket, "list").mockImplementation(async function* (prefix, after) {
    for await (const page of list(prefix, after))
      yield page.map((object) => ({ ...object, ageMs: 90_000_000 }));
  });
  const store = {
    ...storeOf(),
    takeExpiredObjects: (keys: readonly string[]) => takeExpiredObjects(sql, keys),
    findOrphans: async () => [],
  };
  const sweep = async () => {
    await sql`update object_sweep set next_at = now()`;
    for (let pages = 0; pages < 2; pages++)
      await new FileSweep({ store, files: () => bucket, repairs: noRepairs() }).pass();
  };
  await sweep();
  expect(await deletedRuns()).toEqual([run]);
  bucket.locked.clear();
  await sweep();
  expect([bucket.objects.size, await deletedRuns()]).toEqual([0, []]);
});
