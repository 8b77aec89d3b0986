import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { AppError } from "../../../shared/errors.ts";
import type { ApiEnv } from "../api.ts";

const MIB = 1024 * 1024;

/**
 * Refuses bodies over `mib` MiB, also bodies without a Content-Length. `others`: paths with another limit; null: the route
 * limits its body itself.
 */
export function limitBody(mib: number, others: Readonly<Record<string, number | null>> = {}) {
  const limits = new Map(
    Object.entries(others).map(([path, most]) => [path, most === null ? null : limitTo(most)]),
  );
  const usual = limitTo(mib);
  return createMiddleware<ApiEnv>((c, next) => {
    const limit = limits.get(c.req.path);
    return limit === null ? next() : (limit ?? usual)(c, next);
  });
}

function limitTo(mib: number) {
  const maxBytes = mib * MIB;
  return createMiddleware<ApiEnv>(async (c, next) => {
    const length = c.req.header("content-length");
    // A body with a Content-Length is not counted: counting turns it into a stream, which costs 12 us.
    const isCounted = length === undefined || c.req.header("transfer-encoding") !== undefined;
    const isWithin = isCounted ? await readWithin(c, maxBytes) : Number(length) <= maxBytes;
    if (!isWithin) throw new AppError("too_large", `A body may have at most ${mib} MiB.`);
    await next();
  });
}

/** Reads a body into memory while it has at most `maxBytes`. @returns false: it has more, and the rest is not read */
async function readWithin(c: Context<ApiEnv>, maxBytes: number): Promise<boolean> {
  const { raw } = c.req;
  if (raw.body === null) return true;
  const reader = raw.body.getReader();
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    bytes += part.value.byteLength;
    if (bytes > maxBytes) {
      reader.releaseLock();
      return false;
    }
    parts.push(part.value);
  }
  c.req.raw = new Request(raw, { method: raw.method, body: await new Blob(parts).arrayBuffer() });
  return true;
}
