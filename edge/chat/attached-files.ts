import { ATTACHED_LIMITS, isImageType, isTextType } from "../../shared/contracts/attached-file.ts";
import type { FileReference } from "../../shared/contracts/artifact.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
import type { Services } from "../services.ts";
import { referencesOf } from "../uploads/attach.ts";
import type { ChatRequest } from "./chat-request.ts";

/**
 * References to the files that a turn gives to its model. The uploads are kept for as long as the turn exists.
 * @throws AppError `not_found` for an attachment that is no upload of this tenant; `invalid` for a file that no model takes, or
 *   more than a message may have
 */
export async function filesOfTurn(
  services: Pick<Services, "sql">,
  tenant: TenantId,
  run: RunId,
  { message, images, attachments }: ChatRequest,
): Promise<FileReference[]> {
  const files = await referencesOf(services, tenant, run, { message, attachments });
  const fields = [...files.flatMap(typeErrors), ...sizeErrors(files, (images ?? []).length)];
  if (fields.length > 0) throw new AppError("invalid", `Not valid: ${fields[0]?.path}.`, { fields });
  return files;
}

function typeErrors({ content_type, size }: FileReference, i: number): FieldError[] {
  const path = `attachments[${i}].upload_id`;
  if (isImageType(content_type)) return [];
  if (!isTextType(content_type)) {
    const message = `is of the type ${content_type}, which a chat cannot show to a model: send text in UTF-8, JSON, PNG, JPEG, GIF or WebP`;
    return [{ path, message }];
  }
  if (size <= ATTACHED_LIMITS.textBytes) return [];
  return [
    { path, message: `has ${size} bytes, and a text file of a chat may have ${ATTACHED_LIMITS.textBytes}` },
  ];
}

/** @param images how many images the message has beside these files */
function sizeErrors(files: readonly FileReference[], images: number): FieldError[] {
  const path = "attachments";
  const attached = files.filter(({ content_type }) => isImageType(content_type));
  const bytes = attached.reduce((sum, { size }) => sum + size, 0);
  if (attached.length > 0 && attached.length + images > ATTACHED_LIMITS.images) {
    return [{ path, message: `and images may have at most ${ATTACHED_LIMITS.images} images together` }];
  }
  if (bytes <= ATTACHED_LIMITS.imageBytes) return [];
  const message = `have images of ${bytes} bytes, and may have ${ATTACHED_LIMITS.imageBytes} together`;
  return [{ path, message }];
}
