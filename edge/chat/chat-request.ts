import { z } from "zod";
import { DefinitionId, TenantId, plainName } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { WebhookSecret, WebhookUrl } from "../../shared/contracts/webhook.ts";
import { AppError } from "../../shared/errors.ts";

const MAX_IMAGES = 5;
const MAX_MESSAGE_CHARS = 256 * 1024;

/** Postgres stores neither in a text. */
const Message = z
  .string()
  .max(MAX_MESSAGE_CHARS)
  .refine((text) => !text.includes("\0"), "must not contain the character U+0000")
  .refine((text) => text.isWellFormed(), "must not contain half of a surrogate pair");

/** What the base64 of an image of each type begins with: the signature of its format. */
const SIGNATURES = { png: "iVBORw0KGg", jpeg: "/9j/", gif: "R0lGOD", webp: "UklGR" };

/** An image under the type that it has: a provider refuses the whole turn for any other. */
const Image = z
  .string()
  .regex(/^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}$/, {
    error: "must be a data URI of a PNG, JPEG, GIF or WebP image: data:image/png;base64,…",
    abort: true,
  })
  .superRefine((uri, context) => {
    const [named = "", data = ""] = uri.slice("data:image/".length).split(";base64,");
    const [type] = Object.entries(SIGNATURES).find(([, signature]) => data.startsWith(signature)) ?? [];
    if (type === named) return;
    const message = type
      ? `holds an image of another type: send it as data:image/${type};base64,…`
      : "holds no PNG, JPEG, GIF or WebP image";
    context.addIssue({ code: "custom", message });
  });

/** The body of a request for a turn. */
export const ChatRequest = z
  .looseObject({
    message: Message,
    agent: DefinitionId.nullish(),
    session_id: z.string().nullish(),
    images: z.array(Image).max(MAX_IMAGES, `may have at most ${MAX_IMAGES} images`).nullish(),
    priority: z.number().int().min(0).max(10).nullish(),
    tenant_id: TenantId.nullish(),
    webhook_url: WebhookUrl.nullish(),
    webhook_secret: WebhookSecret.nullish(),
    metadata: JsonRecord.nullish(),
    correlation_id: plainName(200).nullish(),
    on_busy: z.enum(["enqueue", "reject", "interrupt"]).nullish(),
  })
  .refine(({ message, images }) => message.trim() !== "" || (images ?? []).length > 0, {
    path: ["message"],
    message: "must not be empty without images",
  })
  .meta({ id: "ChatRequest" });
export type ChatRequest = z.infer<typeof ChatRequest>;

/** @throws AppError `not_yet`: attachments are refused, and never accepted and ignored */
export function refuseAttachments(attachments: unknown): void {
  if (attachments === undefined || attachments === null) return;
  if (Array.isArray(attachments) && attachments.length === 0) return;
  throw new AppError("not_yet", "Not available yet: attachments.", {
    fields: [{ path: "attachments", message: "is not available yet" }],
  });
}
