import { z } from "zod";
import { randomHex } from "./ids.ts";
import { Reference } from "./journal-entry.ts";

// The key of a run's object is `tenant/run/<place of the value>`. The place has slashes, and an artifact's name in URLs has `~`
// in place of them: an encoded slash in a path is decoded, or refused, by some proxies. The key of an upload is
// `tenant/uploads/<id>`.

const UPLOADS = "uploads";

/** The detail of `artifacts_full`: why a file with this many bytes is refused, the tenant's limit, and how much of it is used. */
export function artifactsFullDetail({ used, most }: { used: number; most: number }, bytes: number): string {
  return (
    `the file has ${bytes} bytes, and the files of this tenant have ${used} of the ${most} bytes of its ` +
    "max_total_artifact_bytes: delete uploads or runs, or raise the limit"
  );
}

/** The name of an artifact of a run. */
export const ArtifactName = z
  .string()
  .max(1_000)
  .regex(/^[A-Za-z0-9._~%!'()*-]+$/, "must be the name of an artifact")
  .refine(
    (name) => name.split("~").every((part) => part !== "" && part !== "." && part !== ".."),
    "must be the name of an artifact",
  );

/** The name of a file. It is shown and offered as the name of a download, and is never a path. */
export const FileName = z
  .string()
  .min(1)
  .max(255)
  .refine((name) => !/[/\\~\p{Cc}]/u.test(name), "must not contain / \\ ~ or control characters")
  .refine((name) => name !== "." && name !== "..", "must not be . or ..")
  .refine((name) => name.isWellFormed(), "must not contain half of a surrogate pair");

/** A media type without parameters that need quotes, such as `text/csv; charset=utf-8`. */
export const MediaType = z
  .string()
  .max(255)
  .regex(
    /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:\s*;\s*[\w-]+=[\w.:+-]+)*$/,
    "must be a media type such as text/csv",
  );

/** A parameter of a Content-Type: its name, and its value with quotation marks or without. */
const PARAMETER = /;\s*([\w-]+)=(?:"([^"]*)"|([^\s;"]+))/g;

/**
 * The media type in a Content-Type: `text/csv; charset=utf-8` of `text/csv;charset="utf-8";`. Parameters whose values need quotes, such as
 * a name with spaces, are left out. Null: it has none.
 */
export function mediaTypeIn(contentType: string): string | null {
  const [essence = ""] = contentType.split(";", 1);
  const parameters = [...contentType.matchAll(PARAMETER)].map(
    ([, name = "", quoted, plain]) => `; ${name}=${quoted ?? plain ?? ""}`,
  );
  const types = parameters.filter((each) => MediaType.safeParse(`a/b${each}`).success);
  return MediaType.safeParse([essence.trim(), ...types].join("")).data ?? null;
}

/** The id of an upload. */
export const UploadId = z
  .string()
  .regex(/^upload_[0-9a-f]{24}$/, "must be the id of an upload")
  .brand("UploadId");
export type UploadId = z.infer<typeof UploadId>;

/** A new random id of an upload. */
export function newUploadId(): UploadId {
  return UploadId.parse(`upload_${randomHex(12)}`);
}

/** A file as it is stored: its bytes, what they are, and their SHA-256 in hex. */
export const FileFacts = z.object({
  name: FileName,
  content_type: MediaType,
  bytes: z.number().int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type FileFacts = z.infer<typeof FileFacts>;

/**
 * A reference to a file: an upload, or an artifact that a tool has written. A template that names it gets its text; any part of
 * it, such as `{state.report.name}`, is that field. It counts in the size of a state as the reference that it is, not as the file behind it.
 */
export const FileReference = Reference.extend({ name: z.string(), sha256: z.string() });
export type FileReference = z.infer<typeof FileReference>;

/** A reference to the file with this key. */
export function fileReference(key: string, { name, content_type, bytes, sha256 }: FileFacts): FileReference {
  return { $ref: key, name, size: bytes, content_type, sha256, preview: "", url: artifactUrl(key) };
}

/** An object of a run in the object store, as the API lists it: a file, or a value that is too large for state. */
export const Artifact = z
  .object({
    name: z.string(),
    size: z.number().int(),
    content_type: z.string(),
    url: z.string(),
    /** The name of a file that a tool has written; the other fields below are of files too. */
    file_name: z.string().optional(),
    sha256: z.string().optional(),
    /** `session`: later runs of the same session read it too. */
    scope: z.enum(["run", "session"]).optional(),
    step_path: z.string().optional(),
    created_at: z.string().optional(),
  })
  .meta({ id: "Artifact" });
export type Artifact = z.infer<typeof Artifact>;

/** The beginning of the keys of all objects of a run. */
export function artifactPrefix(tenant: string, run: string): string {
  return `${tenant}/${run}/`;
}

/** The key of a run's object with this name. */
export function artifactKey(tenant: string, run: string, name: string): string {
  return artifactPrefix(tenant, run) + name.replaceAll("~", "/");
}

/** The name of the object with this key. */
export function artifactName(key: string): string {
  return key.split("/").slice(2).join("~");
}

/** The longest key that S3 and R2 take. */
const MAX_KEY_BYTES = 1_024;

/**
 * The key of a file that a tool writes at `prefix`, the place of a visit. The random part keeps it from replacing a file of the same
 * name that a turn of this visit has committed. A name that is too long for a key is cut there: a letter beyond ASCII has six characters or more.
 * The file's row has the whole name.
 */
export function newFileKey(prefix: string, name: string): string {
  const start = `${prefix}/file.${randomHex(4)}.`;
  return start + encodedWithin(name, MAX_KEY_BYTES - start.length);
}

/** A name percent-encoded: its first character, and as many of the others as `maxChars` allow. */
function encodedWithin(name: string, maxChars: number): string {
  let encoded = "";
  for (const character of name) {
    const next = encodeURIComponent(character);
    if (encoded !== "" && encoded.length + next.length > maxChars) break;
    encoded += next;
  }
  return encoded;
}

const FILE = /\/file\.[0-9a-f]{8}\.([^/]+)$/;

/** Whether an object of a run is a file that a tool has written, and not a large value. */
export function isFileKey(key: string): boolean {
  return FILE.test(key);
}

/** The name of the file with this key, which may be cut; null: it is no file. */
export function fileNameOfKey(key: string): string | null {
  const name = FILE.exec(key)?.[1];
  return name === undefined ? null : decodeURIComponent(name);
}

/** The key of the object of an upload. */
export function uploadKey(tenant: string, upload: UploadId): string {
  return `${tenant}/${UPLOADS}/${upload}`;
}

/** The path of the API that opens the object with this key, for a key that may read its run, or the uploads of its tenant. */
export function artifactUrl(key: string): string {
  const [, run = ""] = key.split("/");
  const name = encodeURIComponent(artifactName(key));
  return run === UPLOADS ? `/api/v2/uploads/${name}` : `/api/v2/orchestrations/runs/${run}/artifacts/${name}`;
}

/** The ids of uploads that a text names, in references and in URLs. */
export function uploadsNamedIn(text: string): UploadId[] {
  const ids = new Set(text.match(/\bupload_[0-9a-f]{24}\b/g));
  return [...ids].map((id) => UploadId.parse(id));
}
