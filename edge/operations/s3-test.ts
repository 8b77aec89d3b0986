import { z } from "zod";
import { AppError, invalidField } from "../../shared/errors.ts";
import { isBadPort } from "../../shared/security/egress-policy.ts";
import { R2_HOST, s3PlaceOf } from "../../shared/contracts/s3-bucket.ts";
import { S3Refusal } from "../clients/s3-request.ts";
import type { S3Target } from "../clients/try-s3.ts";
import type { Config } from "../env.ts";

/** The prefix under which a test writes its object, unless the request names another. */
export const DEFAULT_PREFIX = "synapse";

const text = (maxLength: number) => z.string().max(maxLength).optional();

/** Which bucket to test, in the fields of the settings page. Without any: the bucket that this edge uses. */
export const S3Request = z
  .object({
    s3_endpoint_url: text(2_000).describe("Absent or empty: Amazon S3 in `s3_region`"),
    s3_bucket: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/, "must be a name of 2 to 255 letters, digits, . _ and -")
      .optional(),
    s3_region: z
      .string()
      .regex(/^[a-z0-9-]{0,64}$/, "must be the name of a region, such as eu-central-1")
      .optional()
      .describe("Absent or empty: `us-east-1`, and `auto` for Cloudflare R2"),
    s3_prefix: text(200).describe("The test writes its object under this prefix; absent: `synapse`"),
    s3_access_key_id: text(500),
    s3_secret_access_key: text(500),
  })
  .meta({ id: "TestS3" });

/** The hosts of Amazon's public object store: nothing else is there. */
const AMAZON = /^s3([.-][a-z0-9-]+)*\.amazonaws\.com(\.cn)?$/;

/**
 * The bucket that a request names; null when it names none.
 * @throws AppError `invalid` for a field that is missing or wrong; `forbidden` for a host that the operator has not allowed
 */
export function s3TargetOf(config: Config, request: z.infer<typeof S3Request>): S3Target | null {
  if (Object.values(request).every((value) => value === undefined || value === "")) return null;
  const { s3_bucket: bucket, s3_access_key_id: accessKeyId, s3_secret_access_key: secretAccessKey } = request;
  if (!bucket) throw invalidField("s3_bucket", "is missing: the bucket to test");
  if (!accessKeyId) throw invalidField("s3_access_key_id", "is missing: an edge has no role of its own");
  if (!secretAccessKey) throw invalidField("s3_secret_access_key", "is missing: it belongs to the key's id");
  const given = request.s3_endpoint_url;
  return {
    ...s3PlaceOf(given ? endpointOf(config, given).href : undefined, request.s3_region),
    bucket,
    prefix: (request.s3_prefix ?? DEFAULT_PREFIX).replace(/^\/+|\/+$/g, ""),
    accessKeyId,
    secretAccessKey,
  };
}

/** @throws AppError `invalid` for a text that is no endpoint; `forbidden` for a host that the operator has not allowed */
function endpointOf(config: Config, given: string): URL {
  const fault = endpointFaultOf(config, given);
  if (fault === null) return new URL(given);
  if (fault.is === "invalid") throw invalidField("s3_endpoint_url", fault.message);
  throw new AppError("forbidden", `This host ${fault.message}.`);
}

/**
 * What is wrong with the URL of an endpoint, as a predicate of it; null: nothing. An edge connects only to hosts in EGRESS_ALLOW, and to
 * public object stores.
 */
export function endpointFaultOf(
  { EGRESS_ALLOW }: Config,
  given: string,
): { is: "invalid" | "forbidden"; message: string } | null {
  const url = URL.canParse(given) ? new URL(given) : null;
  const invalid = (message: string) => ({ is: "invalid" as const, message });
  if (url === null || !/^https?:$/.test(url.protocol))
    return invalid("must be a URL that begins with https:// or http://");
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    return invalid("must be a URL without user, password, query and fragment");
  if (isBadPort(url.port)) return invalid(`has the port ${url.port}, which is for another protocol`);
  const isPublicStore = AMAZON.test(url.hostname) || R2_HOST.test(url.hostname);
  if (EGRESS_ALLOW.lists(url.hostname) || (isPublicStore && url.protocol === "https:" && url.port === ""))
    return null;
  return {
    is: "forbidden",
    message:
      "is neither Amazon's nor Cloudflare's object store, nor one that the operator allows: add it to EGRESS_ALLOW",
  };
}

/** The causes of refusals that an operator can repair, by S3's name of the error. */
const CODES: Record<string, string> = {
  NoSuchBucket: "The store has no such bucket.",
  InvalidBucketName: "The store takes no bucket of this name.",
  InvalidAccessKeyId: "The store does not know this access key.",
  SignatureDoesNotMatch: "The store refused the signature: the secret access key is wrong.",
  AuthorizationHeaderMalformed: "The store expects another region.",
  PermanentRedirect: "The bucket is in another region: the store names another endpoint for it.",
  RequestTimeTooSkewed: "The clocks of this edge and of the store differ too much.",
};

/** Why a store refused the test, in words of this API and with S3's name of the error. Null: `error` is no refusal. */
export function s3RefusalOf(error: unknown): string | null {
  if (!(error instanceof S3Refusal)) return null;
  const { doing, status, code } = error;
  const answered = `It answered ${status}${code && ` ${code}`}.`;
  const known = CODES[code];
  if (known !== undefined) return `${known} ${answered}`;
  if (status === 403 || status === 401) return `The store does not let this key ${doing}. ${answered}`;
  if (status === 404)
    return `The store has no such bucket, or this is not the address of a store. ${answered}`;
  if (status < 300)
    return `This is not the address of a store, but of a page, such as a console: the edge could not ${doing}. Give the address of the S3 API. ${answered}`;
  if (status >= 300 && status < 400) return `The store redirects to another address. ${answered}`;
  return `The store could not ${doing}. ${answered}`;
}
