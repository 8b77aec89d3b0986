import { z } from "zod";
import { FileName, MediaType } from "../../shared/contracts/artifact.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { StepContext } from "./ports.ts";
import { ToolRejection } from "./step-errors.ts";

type Context = Pick<StepContext, "files">;

const DEFAULT_READ_BYTES = 64 * 1024;

/** What a data URL says before its base64. */
const DATA_URL = /^data:[^,]{0,255};base64,/i;

/**
 * Base64, also in lines or as a data URL, as servers and models write it. A space is refused: words without the spaces between them may be
 * base64 too.
 */
const Base64 = z
  .string()
  .transform((text) => text.trim().replace(DATA_URL, "").replaceAll(/\r?\n/g, ""))
  .pipe(z.base64());

const NewFile = z
  .object({
    name: FileName,
    content: z.string().nullish(),
    content_base64: Base64.nullish(),
    content_type: MediaType.nullish(),
    scope: z.enum(["run", "session"]).nullish(),
  })
  .refine(({ content, content_base64 }) => (content ?? null) === null || (content_base64 ?? null) === null, {
    error: "takes content or content_base64, not both",
  })
  .refine(({ content, content_base64 }) => (content ?? content_base64 ?? null) !== null, {
    error: "needs content or content_base64",
  });

/** The built-in tool `artifact_write`. @throws ToolRejection for wrong arguments; what `Files.write` throws */
export async function writeArtifact(args: JsonObject, { files }: Context): Promise<Json> {
  const { name, content, content_base64, content_type, scope } = parse(NewFile, args);
  const isText = (content ?? null) !== null;
  const bytes = isText ? Buffer.from(content ?? "") : Buffer.from(content_base64 ?? "", "base64");
  const type = content_type ?? (isText ? "text/plain; charset=utf-8" : "application/octet-stream");
  return files.write({ name, content_type: type, scope: scope ?? "run" }, bytes);
}

/** The arguments of `artifact_read`: a part of a file, in bytes. */
const Part = z.object({
  name: z.string().min(1).max(1_000),
  offset: z.number().int().nonnegative().nullish(),
  length: z.number().int().positive().nullish(),
});

/** The built-in tool `artifact_read`. @throws ToolRejection for wrong arguments or a file that does not exist */
export async function readArtifact(args: JsonObject, { files }: Context): Promise<Json> {
  const { name, offset, length } = parse(Part, args);
  return files.read(name, offset ?? 0, length ?? DEFAULT_READ_BYTES);
}

/** The built-in tool `artifact_list`. */
export async function listArtifacts(_args: JsonObject, { files }: Context): Promise<Json> {
  return files.list();
}

function parse<Schema extends z.ZodType>(schema: Schema, args: JsonObject): z.infer<Schema> {
  const parsed = schema.safeParse(args);
  if (parsed.success) return parsed.data;
  throw new ToolRejection(z.prettifyError(parsed.error));
}
