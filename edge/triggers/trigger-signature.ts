import { digestOfBytes, toHex, utf8 } from "../../shared/text/bytes.ts";
import { signingKey } from "../../shared/contracts/webhook.ts";
import { AppError } from "../../shared/errors.ts";
import { verify } from "../http/hmac.ts";

/** The clocks of a sender and of the edge may differ by this much: the tolerance of Standard Webhooks. */
const MAX_SKEW_MS = 5 * 60_000;

/**
 * A trigger's request whose signature is valid. A second request with the same `id` starts no second run. `isIdSigned`: the sender
 * signed the id and the time; otherwise the id is a digest of the body, because GitHub signs neither.
 */
export type SignedRequest = { id: string; isIdSigned: boolean };

/** The prefixes of the three headers of Standard Webhooks. Senders that use Svix write `svix-id` and so on, and sign the same. */
const PREFIXES = ["webhook-", "svix-"];

/** The headers with a signature: the first of GitHub and Gitea, the second of Bitbucket. GitHub sends a SHA-1 in the second, which is not read. */
const HUB_HEADERS = ["x-hub-signature-256", "x-hub-signature"];

/**
 * Checks the signature of a trigger's request, by Standard Webhooks (`webhook-id`, `webhook-timestamp`,
 * `webhook-signature`, or the same with `svix-`) or as GitHub signs (`X-Hub-Signature-256`), and Bitbucket (`X-Hub-Signature: sha256=…`). The
 * signature covers the bytes of the body, not their JSON.
 * @throws AppError `unauthorized`
 */
export async function verifySignedRequest(
  headers: Headers,
  body: Uint8Array<ArrayBuffer>,
  secret: string,
): Promise<SignedRequest> {
  const prefix = PREFIXES.find((each) => headers.has(`${each}signature`));
  const signed =
    prefix === undefined
      ? await byGitHub(headers, body, secret)
      : await byStandard((name) => headers.get(`${prefix}${name}`) ?? "", body, secret);
  if (signed === "late") {
    throw new AppError(
      "unauthorized",
      `The request is signed with this trigger's secret, but its time is more than 5 minutes from now: ${prefix}timestamp must be the ` +
        "time of this sending in seconds since 1970, by a clock that is right.",
    );
  }
  if (signed) return signed;
  throw new AppError(
    "unauthorized",
    "The request is not signed with this trigger's secret: send X-Hub-Signature-256 as GitHub does, or the three " +
      "headers of Standard Webhooks with a time of the last 5 minutes.",
  );
}

async function byGitHub(
  headers: Headers,
  body: Uint8Array<ArrayBuffer>,
  secret: string,
): Promise<SignedRequest | null> {
  const header = HUB_HEADERS.map((name) => headers.get(name)).find((value) => value !== null);
  const hex = /^sha256=([0-9a-f]{64})$/i.exec(header ?? "")?.[1]?.toLowerCase();
  if (hex === undefined || !(await verify(secret, body, hex))) return null;
  return { id: await digestOfBytes("SHA-256", body), isIdSigned: false };
}

/** `late`: the signature is valid, and the time is not. */
async function byStandard(
  header: (name: "id" | "timestamp" | "signature") => string,
  body: Uint8Array<ArrayBuffer>,
  secret: string,
): Promise<SignedRequest | "late" | null> {
  const [id, at] = [header("id"), header("timestamp")];
  const key = signingKey(secret);
  if (!/^[\x21-\x7e]{1,200}$/.test(id) || !/^\d{1,15}$/.test(at) || key === null) return null;
  const isLate = Math.abs(Date.now() - Number(at) * 1_000) > MAX_SKEW_MS;
  const before = utf8(`${id}.${at}.`);
  const signed = new Uint8Array(before.length + body.length);
  signed.set(before);
  signed.set(body, before.length);
  for (const part of header("signature").split(" ").slice(0, 10)) {
    const hex = part.startsWith("v1,") ? hexOf(part.slice(3)) : null;
    if (hex !== null && (await verify(key, signed, hex))) return isLate ? "late" : { id, isIdSigned: true };
  }
  return null;
}

/** A signature in base64 as hex digits; null: the text is no SHA-256 in base64. */
function hexOf(base64: string): string | null {
  if (!/^[A-Za-z0-9+/]{43}=$/.test(base64)) return null;
  return toHex(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
}
