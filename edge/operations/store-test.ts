import { z } from "zod";
import { AppError } from "../../shared/errors.ts";
import type { Config } from "../env.ts";
import { invalidFields } from "../http/problem.ts";

/** The outcome of a test of a store, in words of this API: the store's own words may name hosts behind it. */
export const StoreTest = z
  .object({ status: z.enum(["ok", "error"]), message: z.string() })
  .meta({ id: "StoreTest" });
export type StoreTest = z.infer<typeof StoreTest>;

/**
 * Runs a test of a store. A failure of `connect` is the outcome `error`, and nothing is thrown.
 * @param refusalOf what an error means that only this kind of store has; null: any store may have it
 */
export async function testStore(
  connect: () => Promise<unknown>,
  refusalOf: (error: unknown) => string | null = () => null,
): Promise<StoreTest> {
  try {
    await connect();
    return { status: "ok", message: "The store replied." };
  } catch (error) {
    return { status: "error", message: refusalOf(error) ?? reasonOf(error) };
  }
}

/** The failures that an operator can repair, by a pattern of the driver's message. The first match counts. */
const REASONS: [RegExp, string][] = [
  [/password|auth|WRONGPASS|NOAUTH|28P01|28000|SCRAM/i, "The store refused the credentials."],
  [/database .* does not exist|3D000/i, "The store has no such database."],
  [/ENOTFOUND|EAI_AGAIN|resolve/i, "The name of the host cannot be resolved."],
  [/ECONNREFUSED|refused/i, "The host refused the connection."],
  // workerd gives no reason for a socket that does not connect.
  [/cannot connect/i, "The host cannot be reached: its name is unknown, or nothing listens on this port."],
  [/time|did not reply/i, "The store did not reply in time."],
  [/certificate|TLS|SSL/i, "The connection could not be encrypted."],
];

/** The most causes of an error that are looked at. */
const MAX_CAUSES = 5;

/** The reason that an error gives, or the first of its causes that gives one: the client of a store may wrap what its socket says. */
function reasonOf(error: unknown): string {
  let at = error;
  for (let left = MAX_CAUSES; left > 0 && at instanceof Error; left--, at = at.cause) {
    const code = z.object({ code: z.string() }).safeParse(at).data?.code ?? "";
    const text = `${code} ${at.message}`;
    const reason = REASONS.find(([pattern]) => pattern.test(text))?.[1];
    if (reason !== undefined) return reason;
  }
  return "The store cannot be used.";
}

/**
 * The URL to connect to. An edge connects for a caller only to hosts that the operator has named: in EGRESS_ALLOW, or as a store of
 * this edge. Otherwise callers could use it to find out which servers exist in its network.
 * @throws AppError `invalid` for another protocol; `forbidden` for another host
 */
export function allowedTarget(
  config: Config,
  text: string,
  protocols: readonly string[],
  field: string,
): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !protocols.includes(url.protocol)) {
    const message = `must be a URL that begins with ${protocols.map((name) => `${name}//`).join(" or ")}`;
    throw invalidFields([{ path: field, message }]);
  }
  const own = [config.REDIS_URL, config.UPSTASH_REDIS_REST_URL].map((store) => new URL(store).host);
  if (own.includes(url.host) || config.EGRESS_ALLOW.lists(url.hostname)) return text;
  throw new AppError("forbidden", "This host is not one that the operator allows: add it to EGRESS_ALLOW.");
}
