import { connect } from "node:net";
import type { S3Bucket } from "../../shared/contracts/s3-bucket.ts";
import { S3Refusal, pathOf, sendToBucket, startOf } from "./s3-request.ts";

/** The time limit of a test, in all. */
const TRY_MS = 8_000;

/** `prefix`: of the object that is written. */
export type S3Target = S3Bucket & { prefix: string };

/**
 * Tests the requests that workers make to their bucket: lists an object, stores a small one under a new name, and deletes it again.
 * @throws S3Refusal with the store's answer; Error when the store cannot be reached
 */
export async function tryS3({ prefix, ...bucket }: S3Target): Promise<void> {
  const request = sendToBucket(bucket, unreached);
  const signal = AbortSignal.timeout(TRY_MS);
  /** @param isS3 whether a response is one of S3: a console or a sign-in page answers each request with 200 */
  const send = async (
    doing: string,
    path: string,
    init: RequestInit,
    isS3: (response: Response) => boolean | Promise<boolean> = () => true,
  ): Promise<void> => {
    const response = await request(doing, path, { ...init, signal });
    const isReply = await isS3(response);
    if (!response.bodyUsed) await response.body?.cancel();
    if (!isReply) throw new S3Refusal(doing, response.status, "");
  };
  const key = [prefix, `connection-test-${crypto.randomUUID()}`].filter((part) => part !== "").join("/");
  const object = pathOf(key);
  const list = `?list-type=2&max-keys=1&prefix=${encodeURIComponent(prefix)}`;
  await send("list its objects", list, {}, async (response) =>
    (await startOf(response)).includes("<ListBucketResult"),
  );
  await send("write an object", object, { method: "PUT", body: "synapse" }, ({ headers }) =>
    headers.has("etag"),
  );
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
