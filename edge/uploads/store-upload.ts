import { toHex } from "../../shared/bytes.ts";
import { fullText, uploadKey } from "../../shared/contracts/artifact.ts";
import { AppError } from "../../shared/errors.ts";
import { log, messageOf } from "../../shared/log.ts";
import {
  UPLOAD_SILENCE_MS,
  abandonUpload,
  beginUpload,
  completeUpload,
  keepUpload,
} from "../../shared/store/files/uploads.ts";
import type { NewUpload, Upload, UploadRoom } from "../../shared/store/files/uploads.ts";
import type { Services } from "../services.ts";

/** What a tenant may keep in uploads that no run has named. Several uploads at once may pass it by one each. */
const MAX_UNNAMED = 1_000;
const MAX_UNNAMED_BYTES = 10 * 1024 ** 3;

/** @throws AppError `uploads_full` */
export function refuseWithoutRoom({ unnamed, unnamedBytes }: UploadRoom, length: number): void {
  if (unnamed < MAX_UNNAMED && unnamedBytes + length <= MAX_UNNAMED_BYTES) return;
  throw new AppError(
    "uploads_full",
    "This tenant has 1,000 uploads, or 10 GiB of them, that no run has named: delete some, or wait until they are a day old.",
  );
}

/** How often an upload whose parts come says so. */
const KEEP_EVERY_MS = UPLOAD_SILENCE_MS / 4;

/**
 * Stores the body of an upload as it arrives. Its row comes first and is completed after the last byte, so a death in between leaves
 * an upload that no request finds, and that the reconciler deletes two minutes later (docs/protocol.md 7.20).
 * Its bytes count in the tenant's limit from its row on; those of an upload that fails are given back.
 * @throws AppError `artifacts_full`, `bad_request` for a body that ends early, `conflict` for one that paused too long, `artifacts_away`
 */
export async function storeUpload(
  { sql, artifacts }: Pick<Services, "sql" | "artifacts">,
  upload: NewUpload,
  body: ReadableStream | null,
): Promise<Upload> {
  const { upload_id, tenant_id, bytes: length, content_type: contentType } = upload;
  const room = await beginUpload(sql, upload);
  if (!room.accepted) throw new AppError("artifacts_full", fullText(room, length));
  const digest = new crypto.DigestStream("SHA-256");
  const keep = keeperOf(sql, upload_id);
  const parts = partsOf(body, digest.getWriter(), keep);
  try {
    await artifacts.put(uploadKey(tenant_id, upload_id), parts, { length, contentType });
  } catch (error) {
    await abandonUpload(sql, upload_id).catch((cause: unknown) =>
      log.warn("upload.not_abandoned", { upload: upload_id, message: messageOf(cause) }),
    );
    throw error;
  }
  const sha256 = toHex(new Uint8Array(await digest.digest));
  if (await completeUpload(sql, upload_id, sha256)) return { ...upload, sha256 };
  // Its row may be gone, and the sweep leaves alone what has none.
  await artifacts.delete(uploadKey(tenant_id, upload_id));
  throw pausedTooLong();
}

/** @returns a function to call for each part @throws AppError `conflict` from that function: the upload was given up */
function keeperOf(sql: Services["sql"], upload: NewUpload["upload_id"]): () => Promise<void> {
  let keptMs = Date.now();
  return async () => {
    if (Date.now() - keptMs < KEEP_EVERY_MS) return;
    keptMs = Date.now();
    if (!(await keepUpload(sql, upload))) throw pausedTooLong();
  };
}

function pausedTooLong(): AppError {
  const minutes = UPLOAD_SILENCE_MS / 60_000;
  return new AppError(
    "conflict",
    `No part of the upload came for ${minutes} minutes, and it has been deleted: send it again.`,
  );
}

/** As they arrive, parts have 4 KiB: each costs a turn of JavaScript, so an upload would take four times as long. */
const PART_BYTES = 256 * 1024;

/** The parts of a body, each of them hashed, and announced by `keep`. All of them share one buffer: a part is valid until the next one is asked for. */
async function* partsOf(
  body: ReadableStream | null,
  hash: WritableStreamDefaultWriter<BufferSource>,
  keep: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  if (body !== null) {
    const reader = body.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(PART_BYTES);
    for (;;) {
      const { value, done } = await reader.readAtLeast(PART_BYTES, new Uint8Array(buffer));
      if (value !== undefined && value.byteLength > 0) {
        await keep();
        await hash.write(value);
        yield value;
      }
      if (done || value === undefined) break;
      ({ buffer } = value);
    }
  }
  await hash.close();
}
