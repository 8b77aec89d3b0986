/**
 * `npm run revoke-key -- key_…`: revokes an API key by its public id, in the database of SCALE_POSTGRES_URL. Within 30 s
 * requests with it are refused, and open streams of it and of its stream tokens end.
 */
import postgres from "postgres";
import { z } from "zod";
import { messageOf } from "../../shared/log.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { revokeApiKey } from "../../shared/store/tenants/api-keys.ts";

const usage =
  "Usage: npm run revoke-key -- key_0123456789abcdef (the id that create-key printed beside the key)";

try {
  const [id, ...more] = process.argv.slice(2);
  const keyId = z
    .string()
    .regex(/^key_[0-9a-f]{16}$/)
    .safeParse(id);
  if (!keyId.success || more.length > 0) throw new Error(usage);
  const url = process.env.SCALE_POSTGRES_URL;
  if (!url) {
    throw new Error("SCALE_POSTGRES_URL is not set: write postgres://user:password@host:5432/database");
  }
  const sql = postgres(url, { ...connectionOptions, max: 1, prepare: false });
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
