import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newUploadId } from "../../../shared/contracts/artifact.ts";
import type { UploadId } from "../../../shared/contracts/artifact.ts";
import { forgetUploads, takeExpiredUploads } from "../../../shared/store/files/expired-uploads.ts";
import {
  UPLOAD_SILENCE_MS,
  beginUpload,
  completeUpload,
  deleteUpload,
  keepUpload,
  nameUploads,
  readUpload,
} from "../../../shared/store/files/uploads.ts";
import { acme, globex, openStore, type Store } from "./store-fixture.ts";
import { newRun } from "../../services/new-run.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

async function upload(): Promise<UploadId> {
  const upload_id = newUploadId();
  await beginUpload(store.sql, {
    upload_id,
    tenant_id: acme,
    name: "a",
    content_type: "text/plain",
    bytes: 1,
  });
  await completeUpload(store.sql, upload_id, "0".repeat(64));
  return upload_id;
}
const expire = (id: UploadId) =>
  store.sql`update uploads set kept_until = now() - interval '1 second', named_at = named_at - interval '2 days' where upload_id = ${id}`;

/** Names an upload for a run in an open transaction, begins `remove`, and commits when that waits for the row. */
async function whileNaming<Result>(id: UploadId, remove: () => Promise<Result>): Promise<Result> {
  const naming = await store.sql.reserve();
  try {
    await naming`begin`;
    expect(await nameUploads(naming, acme, newRun().run_id, [id])).toHaveLength(1);
    const removed = remove();
    await expect.poll(() => store.countLockWaits()).toBe(1);
    await naming`commit`;
    return await removed;
  } finally {
    naming.release();
  }
}

describe("an upload", () => {
  test("is seen once its bytes are stored, by its tenant alone", async () => {
    const upload_id = newUploadId();
    const row = { upload_id, tenant_id: acme, name: "a", content_type: "text/plain", bytes: 1 };
    await beginUpload(store.sql, row);
    expect(await readUpload(store.sql, acme, upload_id)).toBeNull();
    expect(await nameUploads(store.sql, acme, newRun().run_id, [upload_id])).toEqual([]);
    expect(await completeUpload(store.sql, upload_id, "0".repeat(64))).toBe(true);
    expect(await readUpload(store.sql, acme, upload_id)).toMatchObject(row);
    expect(await readUpload(store.sql, globex, upload_id)).toBeNull();
    expect(await nameUploads(store.sql, globex, newRun().run_id, [upload_id])).toEqual([]);
  });

  // Fails when an upload that a killed edge has cut off counts for a day, or one whose parts still come is given up.
  test("under way is given up two minutes after its last part, and cannot be completed then; a stored one is kept for a day", async () => {
    const row = { tenant_id: acme, name: "a", content_type: "text/plain", bytes: 1 };
    const [cut, slow, whole] = [newUploadId(), newUploadId(), newUploadId()];
    for (const upload_id of [cut, slow, whole]) await beginUpload(store.sql, { ...row, upload_id });
    const pass = (ms: number) =>
      store.sql`update uploads set kept_until = kept_until - ${ms}::float8 * interval '1 ms' where upload_id in ${store.sql([cut, slow, whole])}`;
    await pass(UPLOAD_SILENCE_MS - 1_000);
    expect(await keepUpload(store.sql, slow)).toBe(true);
    expect(await completeUpload(store.sql, whole, "0".repeat(64))).toBe(true);
    await pass(1_001);
    expect(await takeExpiredUploads(store.sql)).toEqual([{ upload_id: cut, tenant_id: acme }]);
    expect(await keepUpload(store.sql, cut)).toBe(false);
    expect(await completeUpload(store.sql, cut, "0".repeat(64))).toBe(false);
    expect(await completeUpload(store.sql, slow, "0".repeat(64))).toBe(true);
    await forgetUploads(store.sql, [cut]);
    await pass(23.9 * 3_600_000);
    expect(await takeExpiredUploads(store.sql)).toEqual([]);
  });

  // Fails when the deletion decides on what it read before it waited for the row.
  test("that a run names at the moment of its deletion is kept, by the reconciler and for a client", async () => {
    const [expired, deleted] = [await upload(), await upload()];
    await expire(expired);
    expect(await whileNaming(expired, () => takeExpiredUploads(store.sql))).toEqual([]);
    expect(await whileNaming(deleted, () => deleteUpload(store.sql, acme, deleted))).toBe("used");
    for (const id of [expired, deleted]) expect(await readUpload(store.sql, acme, id)).not.toBeNull();
  });

  // Fails when a death between the deletion of the object and of the row leaves one of them for ever.
  test("that was claimed for deletion and still has its row is claimed again, and no request finds it meanwhile", async () => {
    const id = await upload();
    await expire(id);
    const taken = [{ upload_id: id, tenant_id: acme }];
    expect(await takeExpiredUploads(store.sql)).toEqual(taken);
    expect(await readUpload(store.sql, acme, id)).toBeNull();
    expect(await takeExpiredUploads(store.sql)).toEqual([]);
    await expire(id);
    expect(await takeExpiredUploads(store.sql)).toEqual(taken);
    await forgetUploads(store.sql, [id]);
    await expire(id);
    expect(await takeExpiredUploads(store.sql)).toEqual([]);
  });

  test("that a run uses never expires; an upload whose run was not accepted does", async () => {
    const [used, unused] = [await upload(), await upload()];
    await nameUploads(store.sql, acme, await store.accept(), [used]);
    await nameUploads(store.sql, acme, newRun().run_id, [unused]);
    for (const id of [used, unused]) await expire(id);
    expect(await takeExpiredUploads(store.sql)).toEqual([{ upload_id: unused, tenant_id: acme }]);
    expect(await deleteUpload(store.sql, acme, used)).toBe("used");
  });
});
