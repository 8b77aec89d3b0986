import { imageTypeOf, isImageType } from "../../shared/contracts/attached-file.ts";
import type { FileReference } from "../../shared/contracts/artifact.ts";
import type { AttachedFile } from "../engine/ports.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { stepErrorOf, withoutStore } from "../execution/object-store.ts";
import type { FileStore } from "./file-store.ts";
import { contentOf } from "./text-file.ts";

/**
 * A file of a chat message as its model gets it. The edge has bounded its size.
 * @throws TerminalError `file_not_text` or `file_not_image` when its bytes are not what its type says; what `stepErrorOf` returns
 */
export async function loadAttached(
  store: Pick<FileStore, "readRange"> | null,
  file: FileReference,
): Promise<AttachedFile> {
  if (store === null) throw withoutStore();
  const bytes = await store
    .readRange(file.$ref, 0, file.size)
    .catch((error: unknown) => Promise.reject(stepErrorOf(error, "give back a file")));
  return isImageType(file.content_type)
    ? { file, image: imageOf(file, bytes) }
    : { file, text: textOf(file, bytes) };
}

function imageOf({ name }: FileReference, bytes: Uint8Array): string {
  const base64 = Buffer.from(bytes).toString("base64");
  // By the bytes and not by the declared type: a provider refuses an image under another type than it has.
  const type = imageTypeOf(base64);
  if (type !== null) return `data:image/${type};base64,${base64}`;
  throw new TerminalError("file_not_image", `the attached file "${name}" is no PNG, JPEG, GIF or WebP image`);
}

function textOf({ name, content_type }: FileReference, bytes: Uint8Array): string {
  const { content } = contentOf({ content_type }, bytes, { isEnd: true });
  if (content !== undefined) return content;
  throw new TerminalError("file_not_text", `the attached file "${name}" is no text in UTF-8`);
}
