import type { Context } from "hono";
import { toHex } from "../../shared/text/bytes.ts";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "./api.ts";
import { invalidFields } from "./problem.ts";

/**
 * The fields that name a digest of the body (RFC 9530). Of a body without Content-Encoding, in a request for the whole, both name the
 * same bytes.
 */
const FIELDS = ["Content-Digest", "Repr-Digest"];

/** A digest of 32 bytes in base64, beside those of other algorithms. */
const SHA_256 = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:$|[,;])/;

/** A digest that a request names: its field, and the SHA-256 as hex digits. */
export type NamedDigest = { field: string; sha256: string };

/**
 * The digests that a request names of its body. Digests of other algorithms are not compared: a SHA-256 beside them is.
 * @param isForeign the sender is another system, which may name what digests it likes
 * @throws AppError `invalid` for a field without a SHA-256, unless the sender is another system
 */
export function namedDigestsOf(c: Context<ApiEnv>, isForeign = false): NamedDigest[] {
  return FIELDS.flatMap((field) => {
    const value = c.req.header(field);
    if (value === undefined) return [];
    const base64 = SHA_256.exec(value)?.[1];
    if (base64 === undefined) {
      if (isForeign) return [];
      const message = "must have a SHA-256, as sha-256=:base64: (RFC 9530): no other digest is compared";
      throw invalidFields([{ path: field, message }]);
    }
    return [{ field, sha256: toHex(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))) }];
  });
}

/** Refuses a body whose SHA-256 differs from the one in the request: the body was changed on its way. @throws AppError `bad_request` */
export function requireDigests(digests: readonly NamedDigest[], sha256: string): void {
  const other = digests.find((digest) => digest.sha256 !== sha256);
  if (other === undefined) return;
  throw new AppError(
    "bad_request",
    `The body is not the one that ${other.field} names: its SHA-256 is ${sha256} in hex digits. Nothing was stored; send it again.`,
  );
}
