import { expect, test } from "vitest";
import { newUploadId, uploadKey } from "../../../shared/contracts/artifact.ts";
import { FileSweep } from "../../../worker-node/reconciler/file-sweep.ts";
import { noRepairs } from "../../../worker-node/reconciler/reconciler-deps.ts";
import { MemoryBucket } from "../../services/memory-bucket.ts";
import { acme } from "../../shared/store/store-fixture.ts";
import { refusingStore } from "../fakes.ts";

// Fails when the first upload that cannot be deleted ends the deletions: the rows of all others of its page would stay with it.
test("the other uploads are deleted when the store refuses to delete one", async () => {
  const [locked, free] = [newUploadId(), newUploadId()];
  const bucket = new MemoryBucket();
  bucket.locked.add(uploadKey(acme, locked));
  const forgotten: string[] = [];
  const store = {
    ...refusingStore,
    takeExpiredUploads: async () => [locked, free].map((upload_id) => ({ upload_id, tenant_id: acme })),
    forgetUploads: async (ids: readonly string[]) => {
      forgotten.push(...ids);
      return null;
    },
  };
  await new FileSweep({ store, files: () => bucket, repairs: noRepairs() }).pass();
  expect(forgotten).toEqual([free]);
});
