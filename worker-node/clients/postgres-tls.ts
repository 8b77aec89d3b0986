/** Reads from a URL of Postgres how its connections are encrypted: the same for workers, commands and the self-hosted edge. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import type { ConnectionOptions } from "node:tls";
import { messageOf } from "../../shared/log.ts";

const modes = ["disable", "prefer", "require", "verify-ca", "verify-full"] as const;
export type TlsMode = (typeof modes)[number];

/** `options`: those of Node for a TLS connection to the server of the URL. With `disable` they are not used. */
export type PostgresTls = { mode: TlsMode; options: ConnectionOptions };

/**
 * The TLS that `sslmode` and `sslrootcert` ask for, with libpq's meanings. Without either there is none.
 *
 * - `prefer`: without TLS when the server has none. `require`: with TLS, and without a check of the certificate.
 * - `verify-ca`: the certificate is of a trusted authority. `verify-full`: and for the name of the URL.
 * - `sslrootcert` names a file of authorities, or is `system`: those that Node trusts. Then `require` is `verify-ca`, as in libpq, and no
 *   `sslmode` is `verify-full`: a URL that names authorities never leads to a server that is not checked.
 *
 * @throws Error for another `sslmode`, and for an `sslrootcert` that cannot be read
 */
export function postgresTlsOf(url: URL): PostgresTls {
  const authorities = url.searchParams.get("sslrootcert");
  const named = modeOf(url.searchParams.get("sslmode") ?? (authorities === null ? "disable" : "verify-full"));
  const mode = named === "require" && authorities !== null ? "verify-ca" : named;
  const host = url.hostname.replaceAll(/^\[|\]$/g, "");
  const options: ConnectionOptions = { host, ...(isIP(host) === 0 && { servername: host }) };
  if (mode !== "verify-ca" && mode !== "verify-full")
    return { mode, options: { ...options, rejectUnauthorized: false } };
  return {
    mode,
    options: {
      ...options,
      ...(authorities !== null && authorities !== "system" && { ca: readAuthorities(authorities) }),
      ...(mode === "verify-ca" && { checkServerIdentity: () => undefined }),
    },
  };
}

function modeOf(wanted: string): TlsMode {
  const mode = modes.find((each) => each === wanted.toLowerCase());
  if (mode === undefined) throw new Error(`sslmode must be one of ${modes.join(", ")}, not "${wanted}"`);
  return mode;
}

function readAuthorities(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Error(`sslrootcert cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
