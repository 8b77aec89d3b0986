import { connect } from "node:net";
import { AwsClient } from "aws4fetch";

/** A try has this long in all. */
const TRY_MS = 8_000;
/** A store's description of an error is read up to here. */
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

/** What a store refused. `doing`: "list its objects". `code`: S3's name of the error, empty when the store gave none. */
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
 * Lists an object of a bucket, stores a small one under a name of its own, and deletes it again: what workers do with their bucket.
 * Requests are signed with Signature Version 4, and address the bucket by path. Redirects are not followed.
 * @throws S3Refusal what the store answered; Error when it cannot be reached
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
 * Finds out why a request did not reach its server: workerd says of each such failure that it is an internal error.
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

/** The beginning of a response: an error of S3 is some hundred bytes. */
async function startOf(response: Response): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const part of response.body ?? []) {
    text += decoder.decode(part, { stream: true });
    if (text.length >= ERROR_BYTES) break;
  }
  return text;
}

/** S3 writes `<Error><Code>NoSuchBucket</Code>…`. A name of other characters is not one of S3's, and is not repeated to a caller. */
function codeOf(xml: string): string {
  return /<Code>([A-Za-z]{1,60})<\/Code>/.exec(xml)?.[1] ?? "";
}
