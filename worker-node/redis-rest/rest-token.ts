/** The token that every request must carry. */
import { hash, timingSafeEqual } from "node:crypto";
import { RestError } from "./rest-error.ts";

/**
 * Makes the check of a presented token, which throws RestError 401 for a wrong one. It compares hashes in constant time,
 * so neither the duration nor the token's length reveals how much of a guess was right.
 */
export function createTokenCheck(token: string): (presented: string | null) => void {
  const expected = hash("sha256", token, "buffer");
  return (presented) => {
    if (presented === null || !timingSafeEqual(hash("sha256", presented, "buffer"), expected)) {
      throw new RestError(401, "WRONGPASS invalid or missing auth token");
    }
  };
}

/** The token of `Authorization: Bearer …`, else of `?_token=…`; null without both. */
export function presentedToken(
  authorization: string | undefined,
  query: URLSearchParams | null,
): string | null {
  if (authorization !== undefined && /^bearer /i.test(authorization)) return authorization.slice(7);
  return query?.get("_token") ?? null;
}
