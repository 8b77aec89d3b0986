/** The tokens that requests carry: a token for all commands, and a token for commands that only read. */
import { hash, timingSafeEqual } from "node:crypto";
import { RestError } from "./rest-error.ts";

/** `full`: all commands. `read`: commands that only read. */
export type Access = "full" | "read";

/**
 * Makes the check of a presented token: which access it gives. It throws RestError 401 for a wrong one. It compares hashes
 * in constant time, so neither the duration nor the token's length reveals how much of a guess was right.
 */
export function createTokenCheck(
  token: string,
  readOnlyToken: string | undefined,
): (presented: string | null) => Access {
  const full = hash("sha256", token, "buffer");
  const read = readOnlyToken === undefined ? null : hash("sha256", readOnlyToken, "buffer");
  return (presented) => {
    if (presented !== null) {
      const hashed = hash("sha256", presented, "buffer");
      const [isFull, isRead] = [
        timingSafeEqual(hashed, full),
        read !== null && timingSafeEqual(hashed, read),
      ];
      if (isFull) return "full";
      if (isRead) return "read";
    }
    throw new RestError(401, "WRONGPASS invalid or missing auth token");
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
