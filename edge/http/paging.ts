import type { Context } from "hono";
import { z } from "zod";
import { AppError } from "../../shared/errors.ts";
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

/** The place in a list that a cursor names, as `schema` reads it; null: its beginning. @throws AppError `bad_cursor` */
export function readCursor<Schema extends z.ZodType>(schema: Schema, cursor: string): z.infer<Schema> | null {
  if (cursor === "") return null;
  const place = schema.safeParse(cursor);
  if (!place.success) throw badCursor();
  return place.data;
}

/** The error for a cursor of another list. */
export function badCursor(): AppError {
  const detail = "This cursor does not belong to this list; use the one of the page before.";
  return new AppError("bad_cursor", detail);
}

/** The cursor of the page after this one; null: this page is not full, so it is the last. `cursorOf`: the cursor that names an item. */
export function nextCursor<Item>(
  page: readonly Item[],
  limit: number,
  cursorOf: (last: Item) => string,
): string | null {
  const last = page.length < limit ? undefined : page.at(-1);
  return last === undefined ? null : cursorOf(last);
}

/** Sets the `Link` to the page that begins after `cursor`; null: there is no further page. */
export function linkNext(c: Context<ApiEnv>, cursor: string | null): void {
  if (cursor === null) return;
  const url = new URL(c.req.url);
  url.searchParams.set("cursor", cursor);
  c.header("Link", `<${url.pathname}${url.search}>; rel="next"`);
}
