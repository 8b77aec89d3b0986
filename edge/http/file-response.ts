import type { Context } from "hono";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "./api.ts";
import { byteRangeOf } from "./byte-range.ts";
import { Problem, problemResponse } from "./problem.ts";
import { outcomeOf } from "./preconditions.ts";

/** How a file is offered: `name` is the name of a download. */
type Offered = { name: string; contentType: string };

/**
 * The bytes of an object, or the range of them that the request names, as they arrive. With conditions (`outcomeOf`) the response may
 * have no bytes. A model, a tool or a client wrote the bytes: they are offered as a download, so that no browser shows them as a page
 * of this origin.
 * @throws AppError `not_found` when there is no such object, `precondition_failed`
 */
export async function fileResponse(
  c: Context<ApiEnv>,
  key: string,
  offerOf: (facts: { contentType: string }) => Offered,
): Promise<Response> {
  const { artifacts } = c.get("services");
  const facts = await artifacts.facts(key);
  if (facts === null) throw noFile();
  const { size, etag } = facts;
  const { name, contentType } = offerOf(facts);
  const outcome = outcomeOf(
    {
      ifMatch: c.req.header("if-match"),
      ifNoneMatch: c.req.header("if-none-match"),
      ifRange: c.req.header("if-range"),
    },
    etag,
  );
  const headers = {
    "accept-ranges": "bytes",
    "content-type": contentType,
    "content-disposition": attachment(name),
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-cache",
    etag,
  };
  if (outcome === "other") {
    throw new AppError(
      "precondition_failed",
      `If-Match names another file: the ETag of this one is ${etag}.`,
    );
  }
  if (outcome === "unchanged") return new Response(null, { status: 304, headers });
  const isHead = c.req.raw.method === "HEAD";
  // RFC 9110, 14.2: a range is defined for GET alone.
  const range = isHead || outcome === "whole" ? null : byteRangeOf(c.req.header("range"), size);
  if (range === "unsatisfiable") return unsatisfiable(c, size);
  const { offset, length } = range ?? { offset: 0, length: size };
  const part = range === null ? {} : { "content-range": `bytes ${offset}-${offset + length - 1}/${size}` };
  const init = {
    status: range === null ? 200 : 206,
    headers: { ...headers, ...part, "content-length": String(length) },
  };
  // A HEAD needs no read, and an empty object has no range that could be read.
  if (isHead || length === 0) return new Response(null, init);
  const bytes = await artifacts.read(key, { offset, length });
  if (bytes === null) throw noFile();
  return new Response(bytes, init);
}

/** RFC 9110, 15.5.17: `Content-Range` has the size, so that the client can ask for a range that there is. */
function unsatisfiable(c: Context<ApiEnv>, size: number): Response {
  const error = new AppError(
    "range_not_satisfiable",
    `The range begins after the end: the file has ${size} bytes.`,
  );
  const response = problemResponse(error, c.get("requestId"));
  response.headers.set("content-range", `bytes */${size}`);
  return response;
}

/** RFC 6266: the name in ASCII for every client, and the exact one for those that know `filename*`. */
function attachment(name: string): string {
  const ascii = name.replaceAll(/[^\w.-]/g, "_");
  const exact = encodeURIComponent(name).replaceAll(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16)}`,
  );
  const extended = ascii === name ? "" : `; filename*=UTF-8''${exact}`;
  return `attachment; filename="${ascii}"${extended}`;
}

export function noFile(): AppError {
  return new AppError("not_found", "There is no such file.");
}

/** The responses of a route that returns a file, for its documentation. */
export const fileResponses = {
  206: { description: "The bytes that `Range` selects" },
  304: { description: "The client has this file already: `If-None-Match` names its `ETag`" },
  412: problem("`If-Match` names another file than there is"),
  416: problem("The range begins after the end; `Content-Range` has the size"),
};

function problem(description: string) {
  return { description, content: { "application/problem+json": { schema: Problem } } };
}
