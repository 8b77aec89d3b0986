import { z } from "zod";
import {
  UploadId,
  artifactUrl,
  fileReference,
  FileReference,
  uploadKey,
} from "../../shared/contracts/artifact.ts";
import { AppError } from "../../shared/errors.ts";
import type { Upload } from "../../shared/store/files/uploads.ts";

/** An upload as clients see it. `ref`: a reference for the state of a run; in templates it becomes the file's text. */
export const UploadView = z
  .object({
    id: UploadId,
    name: z.string(),
    bytes: z.number().int(),
    content_type: z.string(),
    /** The hash of the bytes, in hex. */
    sha256: z.string(),
    url: z.string(),
    ref: FileReference,
  })
  .meta({ id: "Upload" });
export type UploadView = z.infer<typeof UploadView>;

export function uploadView({ upload_id, tenant_id, ...facts }: Upload): UploadView {
  const key = uploadKey(tenant_id, upload_id);
  return { id: upload_id, ...facts, url: artifactUrl(key), ref: fileReference(key, facts) };
}

export function noUpload(): AppError {
  return new AppError("not_found", "There is no such upload.");
}
