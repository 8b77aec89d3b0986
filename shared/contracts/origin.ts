import { z } from "zod";

const RULE =
  "must be * or an origin as browsers send it, such as https://app.example.com: no path and no pattern";

const origin = (prefix: string) =>
  z
    .string()
    .max(300)
    .overwrite((text) => text.replace(/\/$/, ""))
    .refine((text) => text === "*" || isOrigin(text), prefix + RULE);

/**
 * `*`, or an origin as browsers send it (RFC 6454), also of an app such as `capacitor://localhost`. A slash at the end is left out. Another
 * text would match no page.
 */
export const Origin = origin("");

/** A list whose parts are not checked: of settings, whose parts were checked when they were stored, in earlier versions by other rules. */
export const storedOrigins = z
  .string()
  .max(10_000)
  .transform((list) => list.split(",").flatMap((text) => text.trim() || []));

/** Origins, separated by commas. @param prefix the name of the variable and a space, where the error does not name it otherwise */
export const originList = (prefix = "") => storedOrigins.pipe(z.array(origin(prefix)));

function isOrigin(text: string): boolean {
  const url = URL.parse(text);
  // The stored list has commas between its origins.
  if (url === null || /[,*]/.test(text)) return false;
  // The runtime knows no origin of schemes other than the web's.
  return url.origin === "null" ? text === `${url.protocol}//${url.host}` : url.origin === text;
}
