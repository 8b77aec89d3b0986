import { z } from "zod";
import { ATTACHED_LIMITS, imageTypeOf } from "../../shared/contracts/attached-file.ts";
import { DefinitionId, TenantId, plainName } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { WebhookSecret, WebhookUrl } from "../../shared/contracts/webhook.ts";
import { Attachments } from "../uploads/attach.ts";

const MAX_MESSAGE_CHARS = 256 * 1024;

/** The text of a message. Postgres stores neither U+0000 nor half of a surrogate pair in a text. */
const Message = z
  .string()
  .max(MAX_MESSAGE_CHARS)
  .refine((text) => !text.includes("\0"), "must not contain the character U+0000")
  .refine((text) => text.isWellFormed(), "must not contain half of a surrogate pair");

/** An image as a data URI, which must name the type that the bytes have: otherwise a provider refuses the whole turn. */
const Image = z
  .string()
  .regex(/^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/]+={0,2}$/, {
    error: "must be a data URI of a PNG, JPEG, GIF or WebP image: data:image/png;base64,…",
    abort: true,
  })
  .superRefine((uri, context) => {
    const [named = "", data = ""] = uri.slice("data:image/".length).split(";base64,");
    const type = imageTypeOf(data);
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
    images: z
      .array(Image)
      .max(ATTACHED_LIMITS.images, `may have at most ${ATTACHED_LIMITS.images} images`)
      .nullish(),
    attachments: Attachments.max(
      ATTACHED_LIMITS.files,
      `may have at most ${ATTACHED_LIMITS.files} files`,
    ).nullish(),
    priority: z.number().int().min(0).max(10).nullish(),
    tenant_id: TenantId.nullish(),
    webhook_url: WebhookUrl.nullish(),
    webhook_secret: WebhookSecret.nullish(),
    metadata: JsonRecord.nullish(),
    correlation_id: plainName(200).nullish(),
    on_busy: z.enum(["enqueue", "reject", "interrupt"]).nullish(),
  })
  .refine(
    ({ message, images, attachments }) =>
      message.trim() !== "" || (images ?? []).length > 0 || (attachments ?? []).length > 0,
    { path: ["message"], message: "must not be empty without images or attachments" },
  )
  .meta({ id: "ChatRequest" });
export type ChatRequest = z.infer<typeof ChatRequest>;
