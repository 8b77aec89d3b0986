import { afterEach, expect, test, vi } from "vitest";
import { newUploadId, uploadKey } from "../../../shared/contracts/artifact.ts";
import { FileSweep } from "../../../worker-node/reconciler/file-sweep.ts";
import { noRepairs } from "../../../worker-node/reconciler/reconciler-deps.ts";
import { MemoryBucket } from "../../services/memory-bucket.ts";
import { acme } from "../../shared/store/store-fixture.ts";
import { refusingStore } from "../fakes.ts";

afterEach(() => vi.restoreAllMocks());

// Fails when the first uploads that cannot be deleted end the deletions: the rows of all others of its page would stay with it.
test("uploads that the store refuses to delete do not stop the deletion of others", async () => {
  // More than are deleted at the same time.
  const [locked, free] = [Array.from({ length: 20 }, newUploadId), newUploadId()];
  const bucket = new MemoryBucket();
  for (const id of locked) bucket.locked.add(uploadKey(acme, id));
  const forgotten: string[] = [];
  const store = {
    ...refusingStore,
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

// Fails when a failed request begins the sweep anew: of a large bucket, of which some request always fails, the last objects would stay for ever.
test("the sweep goes on after the last page that it has read when the store fails in between", async () => {
  const bucket = new MemoryBucket();
  for (const key of ["a", "b", "c"]) bucket.objects.set(`acme/${key}`, new Uint8Array());
  const begun: string[] = [];
  const list = async function* (prefix: string, after = "") {
    begun.push(after);
    if (begun.length === 2) throw new Error("the store does not answer");
    for await (const page of bucket.list(prefix, after)) yield page.slice(0, 1);
  };
  const store = { ...refusingStore, takeExpiredUploads: async () => [] };
  const files = Object.assign(new MemoryBucket(), { list });
  vi.spyOn(performance, "now").mockReturnValue(0);
  const sweep = new FileSweep({ store, files: () => files, repairs: noRepairs() });
  vi.spyOn(performance, "now").mockReturnValue(60_000);
  await sweep.pass();
  await expect(sweep.pass()).rejects.toThrow("does not answer");
  for (let pages = 0; pages < 4; pages++) await sweep.pass();
  expect(begun).toEqual(["", "acme/a", "acme/a", "acme/b", "acme/c"]);
});
