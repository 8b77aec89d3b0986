/**
 * `npm run revoke-key -- key_…`: revokes an API key by its public id, in the database of SCALE_POSTGRES_URL. Within 30 s
 * requests with it are refused, and open streams of it and of its stream tokens end.
 */
import { z } from "zod";
import { givenVariables } from "../../shared/given-variables.ts";
import { messageOf } from "../../shared/log.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { revokeApiKey } from "../../shared/store/tenants/api-keys.ts";
import { connectPostgres } from "../clients/connect-postgres.ts";
import { readPostgresUrl } from "../clients/postgres-url.ts";
import { readSecretFiles } from "../secret-files.ts";

const usage =
  "Usage: npm run revoke-key -- key_0123456789abcdef (the id that create-key printed beside the key)";

try {
  readSecretFiles(process.env);
  const [id, ...more] = process.argv.slice(2);
  const keyId = z
    .string()
    .regex(/^key_[0-9a-f]{16}$/)
    .safeParse(id);
  if (!keyId.success || more.length > 0) throw new Error(usage);
  const url = readPostgresUrl(givenVariables(process.env));
  const sql = connectPostgres(url, { ...connectionOptions, max: 1, prepare: false });
  try {
    if (!(await revokeApiKey(sql, keyId.data)))
      throw new Error(`${keyId.data} is unknown, or revoked already.`);
  } finally {
    await sql.end({ timeout: 1 });
  }
  console.log(`${keyId.data} is revoked.`);
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
