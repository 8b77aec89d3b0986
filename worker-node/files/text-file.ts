import type { FileFacts, FileReference } from "../../shared/contracts/artifact.ts";
import { isTextType } from "../../shared/contracts/attached-file.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { getWithin } from "../execution/object-store.ts";
import type { Limits, ObjectStore } from "../execution/object-store.ts";

/** The most bytes of a file that a template, a prompt or a tool's answer has as text. */
export const MAX_TEXT_BYTES = 1024 * 1024;

/**
 * The text of a file. A client may have forged the reference: what it says of the file is compared with what the store has.
 * @throws TerminalError `file_not_text` for a file that is no text in UTF-8 of 1 MiB at most; what `getWithin` throws
 */
export async function loadText(store: ObjectStore, file: FileReference, limits: Limits): Promise<string> {
  const { $ref, name, size, content_type } = file;
  if (!isTextType(content_type)) throw noText(name, `its type is ${content_type}`);
  if (size > MAX_TEXT_BYTES) throw noText(name, `it has ${size} bytes`);
  const text = await getWithin(store, $ref, MAX_TEXT_BYTES, limits);
  if (text === null || Buffer.byteLength(text) !== size)
    throw noText(name, "it is no UTF-8, or not as long as its reference says");
  return text;
}

function noText(name: string, why: string): TerminalError {
  const rule =
    "a template takes text in UTF-8 of 1 MiB at most; {state.key.url} is its address, and artifact_read reads parts of it";
  return new TerminalError("file_not_text", `the text of the file "${name}" cannot be used: ${why}; ${rule}`);
}

/**
 * A part of a file as JSON can hold it: as text where the file is text, else as base64. A character that the part cuts at its end is left
 * out of the text. `length`: the bytes that the result has.
 * @param isEnd the part is the last one of the file, so no character is cut
 */
export function contentOf(
  { content_type }: Pick<FileFacts, "content_type">,
  bytes: Uint8Array,
  { isEnd }: { isEnd: boolean },
) {
  if (isTextType(content_type)) {
    // A character of UTF-8 has four bytes at most, so three of them may be left at the end of a part.
    for (let cut = 0; cut <= (isEnd ? 0 : 3); cut++) {
      const part = bytes.subarray(0, bytes.length - cut);
      const text = textOf(part);
      if (text !== null) return { length: part.length, content: text };
    }
  }
  return { length: bytes.length, content_base64: Buffer.from(bytes).toString("base64") };
}

function textOf(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}
