import { connect } from "node:net";
import { AwsClient } from "aws4fetch";

/** The time limit of a test, in all. */
const TRY_MS = 8_000;
/** The most characters of a store's error response that are read. */
const ERROR_BYTES = 16_384;

export type S3Target = {
  /** The store without the bucket: `https://s3.eu-central-1.amazonaws.com`. */
  endpoint: string;
  bucket: string;
  region: string;
  /** The prefix of the object that is written. */
  prefix: string;
  accessKeyId: string;
  secretAccessKey: string;
};

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
 * Tests the requests that workers make to their bucket: lists an object, stores a small one under a new name, and deletes it again.
 * Requests are signed with Signature Version 4, and address the bucket by path. Redirects are not followed.
 * @throws S3Refusal with the store's answer; Error when the store cannot be reached
 */
export async function tryS3({ endpoint, bucket, region, prefix, ...keys }: S3Target): Promise<void> {
  const client = new AwsClient({ ...keys, region, service: "s3" });
  const signal = AbortSignal.timeout(TRY_MS);
  const base = `${endpoint.replace(/\/+$/, "")}/${bucket}`;
  const send = async (doing: string, path: string, init: RequestInit): Promise<void> => {
    const request = await client.sign(`${base}${path}`, { ...init, redirect: "manual" });
    const response = await fetch(request, { signal }).catch((error: unknown) =>
      unreached(request.url, error),
    );
    if (!response.ok) throw new S3Refusal(doing, response.status, codeOf(await startOf(response)));
    await response.body?.cancel();
  };
  const key = [prefix, `connection-test-${crypto.randomUUID()}`].filter((part) => part !== "").join("/");
  const object = `/${key.split("/").map(encodeURIComponent).join("/")}`;
  await send("list its objects", `?list-type=2&max-keys=1&prefix=${encodeURIComponent(prefix)}`, {});
  await send("write an object", object, { method: "PUT", body: "synapse" });
  await send("delete the object that it wrote", object, { method: "DELETE" });
}

/**
 * Finds out why a request did not reach its server. workerd itself reports each such failure as an internal error.
 * @throws Error that names the stage; the error of the request when a connection is possible and would not be encrypted
 */
async function unreached(address: string, error: unknown): Promise<never> {
  const { hostname, port, protocol } = new URL(address);
  const isEncrypted = protocol === "https:";
  const number = port === "" ? (isEncrypted ? 443 : 80) : Number(port);
  await new Promise<void>((resolve, reject) => {
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ""), port: number });
    socket.setTimeout(TRY_MS, () => socket.destroy(new Error("did not reply in time")));
    socket.once("connect", () => socket.destroy());
    socket.once("error", reject);
    socket.once("close", () => resolve());
  });
  throw isEncrypted ? new Error("the TLS handshake failed", { cause: error }) : error;
}

/** The beginning of a response. It has the whole error of S3, which is some hundred bytes long. */
async function startOf(response: Response): Promise<string> {
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
