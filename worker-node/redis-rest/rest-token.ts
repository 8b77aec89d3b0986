/** The one token of this front. */
import { hash, timingSafeEqual } from "node:crypto";
import { RestError } from "./rest-error.ts";

/**
 * Make the check that every request passes first. Hashes are compared, in constant time, so neither the time
 * taken nor the length tells how much of a guess was right.
 *
 * @returns a function that takes what the caller presented and throws 401 when it is not the token
 */
export function tokenCheck(token: string): (presented: string | null) => void {
  const expected = hash("sha256", token, "buffer");
  return (presented) => {
    if (presented === null || !timingSafeEqual(hash("sha256", presented, "buffer"), expected)) {
      throw new RestError(401, "WRONGPASS invalid or missing auth token");
    }
  };
}

/** `Authorization: Bearer …`, else `?_token=…`; null when there is neither. */
export function presentedToken(
  authorization: string | undefined,
  query: URLSearchParams | null,
): string | null {
  if (authorization !== undefined && /^bearer /i.test(authorization)) return authorization.slice(7);
  return query?.get("_token") ?? null;
}
