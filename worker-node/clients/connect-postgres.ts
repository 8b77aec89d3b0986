import postgres from "postgres";
import type { Sql } from "../../shared/store/sql.ts";
import { postgresTlsOf } from "./postgres-tls.ts";

/**
 * The driver for the database of a URL, with the TLS that the URL asks for.
 *
 * The driver itself does not read `sslrootcert`, takes each unknown `sslmode` for `verify-full`, and compares the certificate of a
 * server that is named by its IP address with `localhost`.
 */
export function connectPostgres(postgresUrl: string, options: postgres.Options<Record<string, never>>): Sql {
  const url = new URL(postgresUrl);
  const tls = postgresTlsOf(url);
  for (const parameter of ["sslmode", "sslrootcert"]) url.searchParams.delete(parameter);
  const ssl = tls.mode === "disable" ? false : tls.mode === "prefer" ? tls.mode : tls.options;
  return postgres(url.href, { ...options, ssl });
}
