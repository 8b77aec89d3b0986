/** The conditional headers of a client that has a body, or a part of it, already (RFC 9110, 13.1). */
export type Conditions = {
  ifMatch: string | undefined;
  ifNoneMatch: string | undefined;
  ifRange: string | undefined;
};

/**
 * What a request for the body with this ETag gets, so that no client joins parts of two files:
 *
 * - `range`: the range that it asks for, or the whole body when it asks for none.
 * - `whole`: the whole body, because the client's part (If-Range) is of another body.
 * - `unchanged`: no bytes (304), because the client has this body already (If-None-Match).
 * - `other`: none of the bytes (412), because the client wants another body (If-Match).
 *
 * Dates are not compared: no response has a Last-Modified.
 * @param etag a strong one, in quotation marks
 */
export function outcomeOf(
  { ifMatch, ifNoneMatch, ifRange }: Conditions,
  etag: string,
): "range" | "whole" | "unchanged" | "other" {
  if (ifMatch !== undefined && !tagsOf(ifMatch).some((tag) => tag === "*" || tag === etag)) return "other";
  const had = ifNoneMatch === undefined ? [] : tagsOf(ifNoneMatch);
  if (had.some((tag) => tag === "*" || tag.replace(/^W\//, "") === etag)) return "unchanged";
  return ifRange === undefined || ifRange.trim() === etag ? "range" : "whole";
}

/** The tags of a list. A tag may hold a comma. */
function tagsOf(list: string): string[] {
  return list.match(/\*|(?:W\/)?"[^"]*"/g) ?? [];
}
