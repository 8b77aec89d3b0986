/** How many files, and of which size, a chat message may attach: text files are sent to the model as text, and images as images. */
export const ATTACHED_LIMITS = {
  files: 10,
  /** The number of the request's images and the attached ones together. */
  images: 5,
  /** The bytes of all attached images together. In base64 they are 10 MB, which providers still take. */
  imageBytes: 7 * 1024 * 1024,
  /** The bytes of one text file. */
  textBytes: 1024 * 1024,
} as const;

const IMAGE_TYPE = /^image\/(?:png|jpeg|gif|webp)$/i;
const TEXT_TYPE =
  /^text\/|^application\/([\w.-]+\+)?(json|xml|yaml)\b|^application\/(javascript|x-ndjson|sql|csv)\b/i;

/** The charsets whose texts are read as UTF-8. A text in another one would be read as other letters. */
const UTF_8 = /^(?:utf-?8|us-ascii)$/i;

/** Whether the bytes of a file are text in UTF-8, as far as its type says. */
export function isTextType(contentType: string): boolean {
  const charsets = [...contentType.matchAll(/;\s*charset=([\w.:+-]+)/gi)];
  return TEXT_TYPE.test(contentType) && charsets.every(([, charset = ""]) => UTF_8.test(charset));
}

/** Whether a file is of one of the types that models take as images, as far as its type says. */
export function isImageType(contentType: string): boolean {
  return IMAGE_TYPE.test(contentType);
}

/** What the base64 of an image of each type begins with: the signature of its format. */
const SIGNATURES = { png: "iVBORw0KGg", jpeg: "/9j/", gif: "R0lGOD", webp: "UklGR" };

/** The type that the bytes of an image have, such as `png`; null: they are no image that models take. */
export function imageTypeOf(base64: string): keyof typeof SIGNATURES | null {
  if (base64.startsWith(SIGNATURES.png)) return "png";
  if (base64.startsWith(SIGNATURES.jpeg)) return "jpeg";
  if (base64.startsWith(SIGNATURES.gif)) return "gif";
  return base64.startsWith(SIGNATURES.webp) ? "webp" : null;
}
