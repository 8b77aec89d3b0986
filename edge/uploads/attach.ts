import { z } from "zod";
import { UploadId, fileReference, uploadKey, uploadsNamedIn } from "../../shared/contracts/artifact.ts";
import type { FileReference } from "../../shared/contracts/artifact.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { AppError } from "../../shared/errors.ts";
import { nameUploads } from "../../shared/store/files/uploads.ts";
import type { Services } from "../services.ts";

const MAX_ATTACHMENTS = 100;

const Attachment = z.object({ upload_id: UploadId });

/** The uploads that a request gives to a run. */
export const Attachments = z.array(Attachment).max(MAX_ATTACHMENTS);

type Request = {
  message: string;
  state?: JsonObject | null | undefined;
  attachments?: z.infer<typeof Attachments> | null | undefined;
};

/**
 * Keeps the uploads that a request names, for as long as its run exists, and returns what state has of its attachments. An upload
 * that is named in the message or in state is kept as well. If the run is not accepted after all, they are kept for a day.
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
    const fields = [
      { path: "state.attachments", message: "is where the run has its attachments: send it there" },
    ];
    throw new AppError("invalid", "Not valid: state.attachments.", { fields });
  }
  const references = await referencesOf(services, tenant, run, request);
  return references.length === 0 ? {} : { attachments: references };
}

/**
 * References to the attachments of a request, in their order. It and the uploads that the message or state name are kept.
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

/** Most requests name none, and need no second text of their state: nothing else in it begins like the id of an upload. */
function namedIn(message: string, state: JsonObject): UploadId[] {
  const ids = uploadsNamedIn(`${message}\n${Object.keys(state).length === 0 ? "" : JSON.stringify(state)}`);
  if (ids.length <= MAX_ATTACHMENTS) return ids;
  throw new AppError(
    "invalid",
    `A run can name ${MAX_ATTACHMENTS} uploads, and this one names ${ids.length}.`,
  );
}
