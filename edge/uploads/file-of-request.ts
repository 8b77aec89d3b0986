import { FileName, mediaTypeIn } from "../../shared/contracts/artifact.ts";
import { dispositionName } from "../../shared/http/content-disposition.ts";
import { AppError } from "../../shared/errors.ts";
import { invalidFields } from "../http/problem.ts";

type Header = (name: string) => string | undefined;

const BYTES = "application/octet-stream";

/**
 * The length of a body that is stored as it arrives: the object store must know it before the first byte.
 * @throws AppError `length_required`, or `too_large` for more than `maxBytes`
 */
export function lengthOf(header: Header, maxBytes: number): number {
  const length = header("content-length") ?? "";
  if (!/^\d{1,15}$/.test(length)) {
    throw new AppError("length_required", "Send the file with a Content-Length: it is stored as it arrives.");
  }
  if (Number(length) > maxBytes) {
    throw new AppError("too_large", `An upload of this tenant may have at most ${maxBytes} bytes.`);
  }
  return Number(length);
}

/**
 * The media type of an upload; `application/octet-stream` when the request names none.
 * @throws AppError `unsupported_media_type` for a body that is not the file itself: encoded, or a form
 */
export function mediaTypeOf(header: Header): string {
  const encoding = header("content-encoding") ?? "identity";
  if (encoding.toLowerCase() !== "identity") {
    throw unsupported(
      `Send the file without Content-Encoding: ${encoding.slice(0, 50)} is not decoded here.`,
    );
  }
  const type = (header("content-type") ?? BYTES).trim();
  if (/^multipart\//i.test(type)) {
    throw unsupported("Send the bytes of the file as the body, not a form: its name goes into ?name=.");
  }
  // The type that curl sends by default; no client uploads a form's fields as a file.
  if (/^application\/x-www-form-urlencoded\b/i.test(type)) return BYTES;
  const parsed = mediaTypeIn(type);
  if (parsed !== null) return parsed;
  throw unsupported("Content-Type must be a media type such as text/csv.");
}

function unsupported(detail: string): AppError {
  return new AppError("unsupported_media_type", detail);
}

/**
 * The name of an uploaded file: the parameter `name`, else the file name of Content-Disposition (RFC 6266), else `file`.
 * @throws AppError `invalid`
 */
export function fileNameOf(named: string | undefined, disposition: string | undefined): string {
  const [path, name] =
    named === undefined ? ["Content-Disposition", dispositionName(disposition ?? "")] : ["name", named];
  const parsed = FileName.safeParse(name ?? "file");
  if (parsed.success) return parsed.data;
  const message = parsed.error.issues[0]?.message ?? "is no name of a file";
  throw invalidFields([{ path, message }]);
}
