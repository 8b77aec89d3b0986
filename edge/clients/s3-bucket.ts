import { createHash } from "node:crypto";
import type { S3Bucket } from "../../shared/contracts/s3-bucket.ts";
import type { Bucket, ListedObject } from "./bucket.ts";
import { S3Refusal, pathOf, sendToBucket } from "./s3-request.ts";

/** The store begins to answer a request without a long body within this time. */
const ANSWER_MS = 10_000;

/** A bucket over S3. */
export function s3Bucket(target: S3Bucket): Bucket {
  const send = sendToBucket(target);
  /** The size of an object, from the reply to a request for its first byte. */
  const sizeByRange = async (key: string): Promise<number> => {
    const headers = { range: "bytes=0-0" };
    try {
      const found = await answered((signal) => send("read an object", pathOf(key), { headers, signal }));
      await drained(found);
      const size = /^bytes 0-0\/(\d+)$/.exec(found.headers.get("content-range") ?? "")?.[1];
      if (size === undefined) throw new Error("the store does not say how long the object is");
      return Number(size);
    } catch (error) {
      // An empty object has no first byte.
      if (error instanceof S3Refusal && error.status === 416) return 0;
      throw error;
    }
  };
  return {
    async head(key) {
      const found = await unlessMissing(
        answered((signal) => send("read an object", pathOf(key), { method: "HEAD", signal })),
      );
      if (found === null) return null;
      const length = found.headers.get("content-length");
      return {
        // Cloudflare leaves the length out where it would compress the body. Without a length an object must not look empty.
        size: length === null ? await sizeByRange(key) : Number(length),
        contentType: found.headers.get("content-type") ?? "application/octet-stream",
        etag: found.headers.get("etag") ?? "",
      };
    },
    async get(key, { offset, length }) {
      const headers = { range: `bytes=${offset}-${offset + length - 1}` };
      const found = await unlessMissing(
        answered((signal) => send("read an object", pathOf(key), { headers, signal })),
      );
      if (found === null || found.status === 206 || isWhole(found, { offset, length }))
        return found?.body ?? null;
      await drained(found);
      throw new Error("the store sends other bytes than the range of the request");
    },
    async put(key, body, contentType) {
      const headers = { "content-type": contentType };
      const answer = await send("write an object", pathOf(key), { method: "PUT", body, headers });
      await drained(answer);
      // The page of a proxy may have status 200 too.
      if (!answer.headers.has("etag")) throw new Error("the store's reply to the write has no ETag");
    },
    async delete(keys) {
      const body = `<Delete><Quiet>true</Quiet>${keys.map((key) => `<Object><Key>${escaped(key)}</Key></Object>`).join("")}</Delete>`;
      // S3 refuses this request without the sum.
      const headers = {
        "content-type": "application/xml",
        "content-md5": createHash("md5").update(body).digest("base64"),
      };
      const answer = await answered((signal) =>
        send("delete objects", "?delete=", { method: "POST", body, headers, signal }),
      );
      const text = await answer.text();
      if (text.includes("<Error>") || (text !== "" && !text.includes("<DeleteResult")))
        throw new Error("the store has not deleted all of the objects");
    },
    async list(prefix, after, limit) {
      const query = new URLSearchParams({
        "list-type": "2",
        "encoding-type": "url",
        "max-keys": String(limit),
        prefix,
      });
      if (after !== undefined) query.set("start-after", after);
      const answer = await answered((signal) => send("list its objects", `?${query.toString()}`, { signal }));
      return listedIn(await answer.text());
    },
  };
}

/** Ends a request when the store has not begun its response in time. A body has no limit, because a large one with a slow reader takes long. */
async function answered(request: (signal: AbortSignal) => Promise<Response>): Promise<Response> {
  const limit = new AbortController();
  const timer = setTimeout(
    () => limit.abort(new Error("the object store did not answer in time")),
    ANSWER_MS,
  );
  try {
    return await request(limit.signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Null: the store has no such object. A response to HEAD has no body that could name the error. */
async function unlessMissing(response: Promise<Response>): Promise<Response | null> {
  try {
    return await response;
  } catch (error) {
    if (error instanceof S3Refusal && error.status === 404 && /^(NoSuchKey)?$/.test(error.code)) return null;
    throw error;
  }
}

/** Whether the range is the whole object, which is then a right response too. A proxy may drop the header `Range`. */
function isWhole({ headers }: Response, { offset, length }: { offset: number; length: number }): boolean {
  return offset === 0 && headers.get("content-length") === String(length);
}

async function drained(response: Response): Promise<void> {
  await response.body?.cancel();
}

/**
 * The objects in a response to ListObjectsV2. Keys are encoded as in a URL, so each field is a text without markup.
 * @throws Error for a response that is not such a list
 */
function listedIn(xml: string): { objects: ListedObject[]; hasMore: boolean } {
  const isTruncated = fieldOf(xml, "IsTruncated");
  const objects = [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, object = ""]) => ({
    key: decodeURIComponent(fieldOf(object, "Key").replaceAll("+", " ")),
    size: Number(fieldOf(object, "Size")),
    storedMs: Date.parse(fieldOf(object, "LastModified")),
  }));
  return { objects, hasMore: isTruncated === "true" };
}

function fieldOf(xml: string, name: string): string {
  const text = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  if (text === undefined) throw new Error(`the store's list has no ${name}`);
  return text;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
