import { toHex } from "../../shared/text/bytes.ts";
import { artifactsFullDetail, uploadKey } from "../../shared/contracts/artifact.ts";
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
import { requireDigests } from "../http/content-digest.ts";
import type { NamedDigest } from "../http/content-digest.ts";
import { toAppError } from "../http/problem.ts";
import { withinOrNull } from "../../shared/tasks/within-or-null.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import type { Services } from "../services.ts";

/** Parts arrive with 4 KiB each. They are joined to this size: each part costs a turn of JavaScript, and uploads took four times as long. */
const PART_BYTES = 256 * 1024;

/** The most uploads, and bytes of uploads, of a tenant that no run has named. Each upload at the same moment may exceed them by one. */
const MAX_UNNAMED = 1_000;
const MAX_UNNAMED_BYTES = 10 * 1024 ** 3;

/** Refuses an upload of `length` bytes for which its tenant has no room. @throws AppError `uploads_full` */
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
 * Stores the body of an upload as it arrives. The row of the upload is inserted first and completed after the last byte. When the edge
 * dies between, no request finds the upload, and the reconciler deletes it two minutes later (docs/protocol.md 7.20). The bytes count in the
 * tenant's limit from the insert on; when the upload fails, they no longer count.
 * @param digests what the client says of the whole
 * @throws AppError `artifacts_full`; `bad_request` for a body that ends early or is not the one of its digests; `artifacts_away`;
 *   `request_timeout` for one that pauses too long
 */
export async function storeUpload(
  { sql, artifacts }: Pick<Services, "sql" | "artifacts">,
  upload: NewUpload,
  body: ReadableStream | null,
  digests: readonly NamedDigest[],
): Promise<Upload> {
  const { upload_id, tenant_id, bytes: length, content_type: contentType } = upload;
  const room = await beginUpload(sql, upload);
  if (!room.accepted) throw new AppError("artifacts_full", artifactsFullDetail(room, length));
  const digest = new crypto.DigestStream("SHA-256");
  const keep = keeperOf(sql, upload_id);
  const parts = partsOf(body, digest.getWriter(), keep);
  let sha256: string;
  try {
    await artifacts.put(uploadKey(tenant_id, upload_id), parts, { length, contentType });
    sha256 = toHex(new Uint8Array(await digest.digest));
    requireDigests(digests, sha256);
  } catch (error) {
    await abandonUpload(sql, upload_id).catch((cause: unknown) =>
      log.warn("upload.not_abandoned", { upload: upload_id, message: messageOf(cause) }),
    );
    throw error;
  }
  if (await completeUpload(sql, upload_id, sha256)) return { ...upload, sha256 };
  // The upload's row may be gone, and the sweep deletes no object without a row.
  await artifacts.delete(uploadKey(tenant_id, upload_id));
  throw pausedTooLong();
}

/** @returns a function to call for each part @throws AppError from that function: `request_timeout`, the upload was given up; `database_away` */
function keeperOf(sql: Services["sql"], upload: NewUpload["upload_id"]): () => Promise<void> {
  let keptMs = elapsedMs();
  return async () => {
    if (elapsedMs() - keptMs < KEEP_EVERY_MS) return;
    keptMs = elapsedMs();
    const isKept = await keepUpload(sql, upload).catch((error: unknown) => {
      throw toAppError(error);
    });
    if (!isKept) throw pausedTooLong();
  };
}

function pausedTooLong(): AppError {
  const minutes = UPLOAD_SILENCE_MS / 60_000;
  return new AppError(
    "request_timeout",
    `Less than ${PART_BYTES / 1024} KiB of the upload came in ${minutes} minutes, and it has been deleted: send it again.`,
  );
}

/** The parts of a body, each announced to `keep` and added to the hash. All parts share one buffer: a part is valid until the next one is requested. */
async function* partsOf(
  body: ReadableStream | null,
  hash: WritableStreamDefaultWriter<BufferSource>,
  keep: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  if (body !== null) {
    const reader = body.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(PART_BYTES);
    for (;;) {
      const read = await withinOrNull(
        reader.readAtLeast(PART_BYTES, new Uint8Array(buffer)),
        UPLOAD_SILENCE_MS,
      );
      if (read === null) throw pausedTooLong();
      const { value, done } = read;
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
