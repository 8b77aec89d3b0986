import type { Context } from "hono";
import { z } from "zod";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "./api.ts";

/** How a list is paged. A cursor names the item after which a page begins. */
export const PageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z
    .string()
    .regex(/^[A-Za-z0-9._:-]{0,255}$/, "is not a cursor of this list")
    .default(""),
});

/** The error for a cursor of another list. @param right the cursor to send instead, in words */
export function badCursor(right: string): AppError {
  return new AppError("bad_cursor", `This cursor does not belong to this list; use ${right}.`);
}

/** Sets the `Link` to the next page when this page is full. `ids`: the ids of this page's items, in order. */
export function linkNext(c: Context<ApiEnv>, limit: number, ids: readonly string[]): void {
  linkCursor(c, ids.length < limit ? null : (ids.at(-1) ?? null));
}

/** Sets the `Link` to the page that begins after `cursor`; null: there is no further page. */
export function linkCursor(c: Context<ApiEnv>, cursor: string | null): void {
  if (cursor === null) return;
  const url = new URL(c.req.url);
  url.searchParams.set("cursor", cursor);
  c.header("Link", `<${url.pathname}${url.search}>; rel="next"`);
}
