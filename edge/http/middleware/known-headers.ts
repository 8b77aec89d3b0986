import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import type { FieldError } from "../../../shared/errors.ts";
import type { ApiEnv } from "../api.ts";
import type { DocumentedRoute } from "../documented-routes.ts";
import { serveWithout } from "../unknown-names.ts";
import { bearerKey, principalOf } from "./principal.ts";

/** A header that asks for something that no route does. `isMeant`: whether this request asks for it; absent: each request with it. */
type UnreadHeader = {
  name: string;
  message: string;
  isMeant?: (c: Context<ApiEnv>, value: string, route: DocumentedRoute) => boolean;
};

const changes = ({ req }: Context<ApiEnv>): boolean => req.method !== "GET" && req.method !== "HEAD";
const named = (message: string, names: string[]): UnreadHeader[] => names.map((name) => ({ name, message }));
const ofChanges = (message: string, names: string[]): UnreadHeader[] =>
  names.map((name) => ({ name, message, isMeant: changes }));

/** All of them, by their name in lower case. Headers that proxies and browsers add by themselves are not among them. */
const UNREAD = new Map(
  [
    ...named("is not read: the key of a request names its tenant, and tenant_id another one", [
      "X-Tenant-Id",
      "X-Tenant",
      "Tenant-Id",
      "X-Synapse-Tenant",
      "X-Synapse-Tenant-Id",
    ]),
    ...named("is not read: send the request with that method itself", [
      "X-HTTP-Method-Override",
      "X-Method-Override",
      "X-HTTP-Method",
    ]),
    ...named("is not read: send it as Idempotency-Key", [
      "X-Idempotency-Key",
      "Idempotence-Key",
      "IdempotencyKey",
    ]),
    ...named("is not compared with the body: send Content-Digest: sha-256=:…: (RFC 9530)", [
      "Content-MD5",
      "Digest",
      "X-Amz-Checksum-Sha256",
      "X-Amz-Checksum-Sha1",
      "X-Amz-Checksum-Crc32",
      "X-Amz-Checksum-Crc32c",
      "X-Amz-Checksum-Crc64nvme",
    ]),
    ...ofChanges("is not compared: a change is made whatever version is stored", [
      "If-Match",
      "If-None-Match",
      "If-Unmodified-Since",
    ]),
    ...ofChanges("is not read: send the whole body in one request, parts are not joined", ["Content-Range"]),
    {
      name: "Expect",
      message: "is not met: this API knows 100-continue alone",
      isMeant: (_c: Context<ApiEnv>, value: string) => value.toLowerCase() !== "100-continue",
    },
    {
      name: "Idempotency-Key",
      message: "is not read by this request, which is executed each time it is sent: leave it out",
      // PUT and DELETE are idempotent by themselves.
      isMeant: ({ req }: Context<ApiEnv>, _value: string, { headers }: DocumentedRoute) =>
        (req.method === "POST" || req.method === "PATCH") && !headers.has("idempotency-key"),
    },
  ].map((header): [string, UnreadHeader] => [header.name.toLowerCase(), header]),
);

/**
 * Refuses a request with a header that says what to do and that its route would ignore: a client that names a tenant, a version or a
 * digest there would take the response for its confirmation. Only routes that need a key are checked here: other systems, which send
 * what they like, reach the others. A caller without a valid key gets 401 first.
 */
export function knownHeaders(routeOf: (c: Context<ApiEnv>) => DocumentedRoute | null) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const { headers } = c.req.raw;
    const sent: { header: UnreadHeader; value: string }[] = [];
    // Names alone: workerd makes each pair of a name and its value an object of its own.
    for (const name of headers.keys()) {
      const header = UNREAD.get(name);
      if (header !== undefined) sent.push({ header, value: headers.get(name) ?? "" });
    }
    if (sent.length === 0) return next();
    const route = routeOf(c);
    if (route === null || !route.needsKey) return next();
    const errors = sent.flatMap(({ header: { name, message, isMeant }, value }): FieldError[] =>
      isMeant === undefined || isMeant(c, value, route) ? [{ path: name, message }] : [],
    );
    if (errors.length > 0) await principalOf(c, bearerKey(c));
    return serveWithout(c, next, errors);
  });
}
