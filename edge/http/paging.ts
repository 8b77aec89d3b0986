import type { Context } from "hono";
import { z } from "zod";
import type { ApiEnv } from "./api.ts";

/** Lists are plain arrays, paged by a `Link` header. A cursor is the id after which a page begins. */
export const PageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9._:-]{0,255}$/, "is not a cursor of this list")
    .default(""),
});

/** Sets the `Link` to the next page when this page is full. `ids`: the items of this page. */
export function linkNext(c: Context<ApiEnv>, limit: number, ids: readonly string[]): void {
  const last = ids.at(-1);
  if (last === undefined || ids.length < limit) return;
  const url = new URL(c.req.url);
  url.searchParams.set("cursor", last);
  c.header("Link", `<${url.pathname}${url.search}>; rel="next"`);
}
