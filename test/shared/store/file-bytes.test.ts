import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { newUploadId } from "../../../shared/contracts/artifact.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { forgetUploads, takeExpiredUploads } from "../../../shared/store/files/expired-uploads.ts";
import { releaseFiles, reserveFile } from "../../../shared/store/files/file-bytes.ts";
import {
  abandonUpload,
  beginUpload,
  completeUpload,
  deleteUpload,
} from "../../../shared/store/files/uploads.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { changeTenant, findTenant } from "../../../shared/store/tenants/tenant-rows.ts";
import { ageEnd } from "../../services/archive.ts";
import { acme, globex, openStore, stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore();
});
afterEach(() => store.close());

const limit = (most: number) => changeTenant(store.sql, acme, { max_total_artifact_bytes: most });
const used = async (tenant = acme) => (await findTenant(store.sql, tenant))?.artifact_bytes;
const uploadOf = (bytes: number, tenant = acme) => ({
  upload_id: newUploadId(),
  tenant_id: tenant,
  name: "a",
  content_type: "text/plain",
  bytes,
});
const begin = (bytes: number, tenant = acme) => beginUpload(store.sql, uploadOf(bytes, tenant));
const sha256 = "0".repeat(64);

type Run = Awaited<ReturnType<Store["startRun"]>>;
/** A file that a tool of the run has stored. */
const stored = (
  { run_id, attempt }: Run,
  bytes: number,
  object_key = `acme/${run_id}/a/1.1/file.00000000.f`,
) => ({
  object_key,
  tenant_id: acme,
  run_id,
  attempt,
  bytes,
});
const fileOf = ({ object_key, bytes }: { object_key: string; bytes: number }) => ({
  object_key,
  bytes,
  name: "f",
  content_type: "text/plain",
  sha256,
  scope: "run" as const,
  step_path: "a",
  visit: 1,
});

describe("an upload", () => {
  // Fails when a deletion counts twice, or the row that is deleted later counts again.
  test("counts from its begin until it is deleted, once", async () => {
    const upload = uploadOf(70);
    expect(await beginUpload(store.sql, upload)).toEqual({ accepted: true, used: 0, most: 1024 ** 5 });
    expect(await used()).toBe(70);
    await completeUpload(store.sql, upload.upload_id, sha256);
    await begin(5);
    expect([await used(), await used(globex)]).toEqual([75, 0]);
    await deleteUpload(store.sql, acme, upload.upload_id);
    expect(await used()).toBe(5);
    await takeExpiredUploads(store.sql);
    await forgetUploads(store.sql, [upload.upload_id]);
    expect(await used()).toBe(5);
  });

  test("that passes the limit is refused with the used bytes, leaves no row, and affects no other tenant", async () => {
    await limit(100);
    await begin(60);
    expect(await begin(41)).toEqual({ accepted: false, used: 60, most: 100 });
    expect(await store.sql`select from uploads`).toHaveLength(1);
    expect((await begin(41, globex)).accepted).toBe(true);
    expect((await begin(40)).accepted).toBe(true);
    expect(await used()).toBe(100);
  });

  // Fails when two requests both read the used bytes before either has written, because neither locks the tenant's row.
  test("never exceeds the limit together with uploads at the same time", async () => {
    await limit(1_000);
    const replies = await Promise.all(Array.from({ length: 50 }, () => begin(100)));
    expect(replies.filter(({ accepted }) => accepted)).toHaveLength(10);
    expect(await used()).toBe(1_000);
  });

  test("that fails gives its bytes back; an upload of an edge that died gives them back when it is swept", async () => {
    const [failed, cut] = [uploadOf(10), uploadOf(20)];
    await beginUpload(store.sql, failed);
    await beginUpload(store.sql, cut);
    await abandonUpload(store.sql, failed.upload_id);
    expect(await used()).toBe(20);
    await store.sql`update uploads set kept_until = now() where upload_id = ${cut.upload_id}`;
    await takeExpiredUploads(store.sql);
    expect(await used()).toBe(0);
  });
});

describe("a file of a run", () => {
  // Fails when the reservation stays beside the row of the file.
  test("is reserved once it is stored, counts once when it is committed, and goes with its run", async () => {
    const run = await store.startRun();
    const file = stored(run, 30);
    expect((await reserveFile(store.sql, file)).accepted).toBe(true);
    expect((await reserveFile(store.sql, file)).accepted).toBe(true);
    expect(await used()).toBe(30);
    await flush(store.sql, [
      stepEntry(run, { kind: "end", status: "completed", output: "{}", artifacts: [fileOf(file)] }),
    ]);
    expect([await used(), await store.sql`select from file_reservations`]).toEqual([30, []]);
    await ageEnd(store.sql, run.run_id, 49);
    await store.sql`update runs set queued_at = now() - interval '50 hours'`;
    await changeTenant(store.sql, acme, { retention: { runs_days: 1 } });
    await deleteExpired(store.sql);
    expect([await store.sql`select from runs`, await used()]).toEqual([[], 0]);
  });

  // A worker of the version before commits files that it has not reserved.
  test("counts when it is committed without a reservation", async () => {
    const run = await store.startRun();
    await flush(store.sql, [stepEntry(run, { artifacts: [fileOf(stored(run, 7))] })]);
    expect(await used()).toBe(7);
  });

  test("never exceeds the limit together with uploads and files at the same time", async () => {
    await limit(500);
    const run = await store.startRun();
    const files = Array.from({ length: 10 }, (_, i) => reserveFile(store.sql, stored(run, 100, `key-${i}`)));
    const replies = await Promise.all([...files, ...Array.from({ length: 10 }, () => begin(100))]);
    expect(replies.filter(({ accepted }) => accepted)).toHaveLength(5);
    expect(await used()).toBe(500);
  });

  // Fails when a reservation outlives the attempt that may commit it, or is given back while that attempt goes on.
  test("gives its bytes back when its attempt has died, and keeps them while its attempt goes on", async () => {
    const [alive, dead] = [await store.startRun(), await store.startRun()];
    await reserveFile(store.sql, stored(alive, 1));
    await reserveFile(store.sql, stored(dead, 2));
    await releaseFiles(store.sql);
    expect(await used()).toBe(3);
    await store.sql`update runs set status = 'queued', owner = null where run_id = ${dead.run_id}`;
    await releaseFiles(store.sql);
    expect(await used()).toBe(1);
    await store.claim(await store.addWorker(), dead.run_id);
    expect(await store.sql`select from file_bytes_changes`).toEqual([]);
  });
});
