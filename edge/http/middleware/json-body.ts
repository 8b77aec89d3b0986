import { bodyLimit } from "hono/body-limit";
import { createMiddleware } from "hono/factory";
import { AppError } from "../../../shared/errors.ts";
import { roundedIntegers } from "../../../shared/contracts/long-integers.ts";
import type { ApiEnv } from "../api.ts";
import { pathText } from "../problem.ts";

const MIB = 1024 * 1024;

/** Refuses bodies over `mib` MiB, also bodies without a Content-Length. */
export function limitBody(mib: number) {
  const tooLarge = () => {
    throw new AppError("too_large", `A body may have at most ${mib} MiB.`);
  };
  const counted = bodyLimit({ maxSize: mib * MIB, onError: tooLarge });
  return createMiddleware<ApiEnv>(async (c, next) => {
    const length = c.req.header("content-length");
    // A body with a Content-Length is not counted: counting turns it into a stream, which costs 12 us.
    if (length === undefined || c.req.header("transfer-encoding") !== undefined) return counted(c, next);
    if (Number(length) > mib * MIB) tooLarge();
    await next();
  });
}

/**
 * Refuses a body whose Content-Type is not JSON (Hono would skip its validation), and one with an integer beyond 2^53,
 * which would be stored with other digits than were sent.
 */
export const jsonBody = createMiddleware<ApiEnv>(async (c, next) => {
  const type = c.req.header("content-type") ?? "";
  if (!/^application\/([a-z0-9.-]+\+)?json\b/i.test(type)) {
    throw new AppError(
      "unsupported_media_type",
      "Send the body as JSON, with Content-Type: application/json.",
    );
  }
  const fields = roundedIntegers(await c.req.text()).map((path) => ({
    path: pathText(path),
    message: "is an integer beyond 2^53, which is read with other digits: send it as text",
  }));
  if (fields.length > 0) {
    throw new AppError("invalid", `Not valid: ${fields.map(({ path }) => path).join(", ")}.`, { fields });
  }
  await next();
});
