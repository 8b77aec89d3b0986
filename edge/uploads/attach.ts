import { z } from "zod";
import { UploadId, fileReference, uploadKey, uploadsNamedIn } from "../../shared/contracts/artifact.ts";
import type { FileReference } from "../../shared/contracts/artifact.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { AppError } from "../../shared/errors.ts";
import { nameUploads } from "../../shared/store/files/uploads.ts";
import { invalidFields } from "../http/problem.ts";
import type { Services } from "../services.ts";

const MAX_ATTACHMENTS = 100;

const Attachment = z.strictObject({ upload_id: UploadId });

/** The uploads that a request gives to a run. */
export const Attachments = z.array(Attachment).max(MAX_ATTACHMENTS);

type Request = {
  message: string;
  state?: JsonObject | null | undefined;
  attachments?: z.infer<typeof Attachments> | null | undefined;
};

/**
 * Keeps the uploads that a request names for as long as its run exists: those in its attachments, its message and its state. If the
 * run is not accepted, they are kept for a day.
 * @returns the fields that the attachments add to the run's state
 * @throws AppError `not_found` for an attachment that is no upload of this tenant, `invalid`
 */
export async function attach(
  services: Pick<Services, "sql">,
  tenant: TenantId,
  run: RunId,
  request: Request,
): Promise<JsonObject> {
  const { state, attachments } = request;
  if ((attachments ?? []).length > 0 && state && Object.hasOwn(state, "attachments")) {
    const message = "is set by the run's attachments: send the uploads in attachments alone";
    throw invalidFields([{ path: "state.attachments", message }]);
  }
  const references = await referencesOf(services, tenant, run, request);
  return references.length === 0 ? {} : { attachments: references };
}

/**
 * References to the attachments of a request, in their order. These uploads, and those that its message or state name, are kept for as
 * long as the run exists.
 * @throws AppError `not_found` for an attachment that is no upload of this tenant, `invalid`
 */
export async function referencesOf(
  services: Pick<Services, "sql">,
  tenant: TenantId,
  run: RunId,
  { message, state, attachments }: Request,
): Promise<FileReference[]> {
  const attached = attachments ?? [];
  const named = namedIn(message, state ?? {});
  const ids = [...new Set([...attached.map(({ upload_id }) => upload_id), ...named])];
  if (ids.length === 0) return [];
  const found = new Map(
    (await nameUploads(services.sql, tenant, run, ids)).map((upload) => [upload.upload_id, upload]),
  );
  const missing = attached.flatMap(({ upload_id }, i) => (found.has(upload_id) ? [] : [{ upload_id, i }]));
  if (missing.length > 0) {
    const fields = missing.map(({ i }) => ({
      path: `attachments[${i}].upload_id`,
      message: "does not exist",
    }));
    throw new AppError("not_found", `There is no upload ${missing[0]?.upload_id}.`, { fields });
  }
  return attached.flatMap(({ upload_id }) => {
    const upload = found.get(upload_id);
    return upload === undefined ? [] : [fileReference(uploadKey(tenant, upload_id), upload)];
  });
}

/** The ids of uploads in the message and the state. An empty state, which most requests have, is not written as text for it. */
function namedIn(message: string, state: JsonObject): UploadId[] {
  const ids = uploadsNamedIn(`${message}\n${Object.keys(state).length === 0 ? "" : JSON.stringify(state)}`);
  if (ids.length <= MAX_ATTACHMENTS) return ids;
  throw new AppError(
    "invalid",
    `A run can name ${MAX_ATTACHMENTS} uploads, and this one names ${ids.length}.`,
  );
}
