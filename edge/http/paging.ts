import type { Context } from "hono";
import { z } from "zod";
import type { ApiEnv } from "./api.ts";
import { queryInteger } from "./query-integer.ts";

/** How a list is paged. A cursor names the item after which a page begins. */
export const PageQuery = z.object({
  limit: queryInteger(1, 200).default(50),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9._:-]{0,255}$/, "is not a cursor of this list")
    .default(""),
});

/** Sets the `Link` to the next page when this page is full. `ids`: the items of this page. */
export function linkNext(c: Context<ApiEnv>, limit: number, ids: readonly string[]): void {
  linkCursor(c, ids.length < limit ? null : (ids.at(-1) ?? null));
}

/** Sets the `Link` to the page that begins at `cursor`; null: there is none. */
export function linkCursor(c: Context<ApiEnv>, cursor: string | null): void {
  if (cursor === null) return;
  const url = new URL(c.req.url);
  url.searchParams.set("cursor", cursor);
  c.header("Link", `<${url.pathname}${url.search}>; rel="next"`);
}
