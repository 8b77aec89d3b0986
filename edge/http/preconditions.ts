/** The headers by which a client that has a body already, or a part of it, asks for another one (RFC 9110, 13.1). */
export type Conditions = {
  ifMatch: string | undefined;
  ifNoneMatch: string | undefined;
  ifRange: string | undefined;
};

/**
 * What a request for a body with this ETag gets: its `range`, the `whole` body where the part that the client has is of another one,
 * nothing because it has this body already (`unchanged`, 304), or nothing because it wants another one (`other`, 412). So no client
 * joins parts of two files. `etag` is a strong one. Dates are not compared: no response has a Last-Modified.
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
