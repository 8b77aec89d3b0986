import { AwsClient } from "aws4fetch";
import type { S3Bucket } from "../../shared/contracts/s3-bucket.ts";

/** The most characters of a response that are read to learn what it is. */
const ERROR_BYTES = 16_384;

/** A request that the store refused. `doing`: the request in words, "list its objects". `code`: S3's name of the error, or empty. */
export class S3Refusal extends Error {
  readonly doing: string;
  readonly status: number;
  readonly code: string;

  constructor(doing: string, status: number, code: string) {
    super(`${doing}: ${status} ${code}`);
    this.doing = doing;
    this.status = status;
    this.code = code;
  }
}

/**
 * Sends a request to a bucket. `path`: the object with a slash before it, and the query.
 * @throws S3Refusal with the store's answer, unless it succeeds; Error when the store cannot be reached
 */
type SendToBucket = (doing: string, path: string, init: RequestInit) => Promise<Response>;

/**
 * Requests to a bucket. They are signed with Signature Version 4, and address the bucket by path. Redirects are not followed.
 * @param onUnreached explains the error of a request that no store answered, by throwing another one
 */
export function sendToBucket(
  { endpoint, bucket, region, accessKeyId, secretAccessKey }: S3Bucket,
  onUnreached?: (address: string, error: unknown) => Promise<never>,
): SendToBucket {
  const client = new AwsClient({ accessKeyId, secretAccessKey, region, service: "s3" });
  const base = `${endpoint.replace(/\/+$/, "")}/${bucket}`;
  return async (doing, path, init) => {
    const { signal, ...signed } = init;
    const request = await client.sign(`${base}${path}`, { ...signed, redirect: "manual" });
    const sent = fetch(request, signal ? { signal } : {});
    const response = await (onUnreached ? sent.catch((error) => onUnreached(request.url, error)) : sent);
    if (response.ok) return response;
    throw new S3Refusal(doing, response.status, codeOf(await startOf(response)));
  };
}

/** The path of an object. */
export function pathOf(key: string): string {
  return `/${key.split("/").map(encodeURIComponent).join("/")}`;
}

/** The beginning of a response. It has the whole error of S3, which is some hundred bytes long. */
export async function startOf(response: Response): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const part of response.body ?? []) {
    text += decoder.decode(part, { stream: true });
    if (text.length >= ERROR_BYTES) break;
  }
  return text;
}

/**
 * The code in an error of S3, `<Error><Code>NoSuchBucket</Code>…`; empty: there is none. S3's codes have letters only, and no other text
 * is repeated to a caller.
 */
function codeOf(xml: string): string {
  return /<Code>([A-Za-z]{1,60})<\/Code>/.exec(xml)?.[1] ?? "";
}
