/**
 * `npm run create-key`: stores a new API key in the database of SCALE_POSTGRES_URL and prints it, once. The key is the only
 * line of stdout, so that it can be piped into a secret store; everything else goes to stderr.
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { TenantId } from "../../shared/contracts/ids.ts";
import { Scope } from "../../shared/contracts/tenant.ts";
import { givenVariables } from "../../shared/given-variables.ts";
import { messageOf } from "../../shared/log.ts";
import { newApiKey, saveApiKey, type NewKey } from "../../shared/store/tenants/api-keys.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { connectPostgres } from "../clients/connect-postgres.ts";
import { readPostgresUrl } from "../clients/postgres-url.ts";
import { readSecretFiles } from "../secret-files.ts";

const usage = `Usage: npm run create-key -- --tenant acme --name ops
--platform instead of --tenant: the key may name any tenant.
--scopes ${Scope.options.join(",")}: what the key may do; the default is all of them.`;

const Flags = z
  .object({
    tenant: TenantId.optional(),
    platform: z.boolean().default(false),
    name: z.string("is missing").min(1, "is empty").max(200, "must be at most 200 characters"),
    scopes: z
      .string()
      .default(Scope.options.join(","))
      .transform((text) => text.split(","))
      .pipe(z.array(z.enum(Scope.options, `must be names out of ${Scope.options.join(", ")}`))),
  })
  // A platform key opens every tenant, so a forgotten flag must not make one.
  .refine(({ tenant, platform }) => platform === (tenant === undefined), {
    path: ["tenant"],
    message: "or --platform is required, and not both",
  });

/** @throws Error with a sentence for each wrong flag, and the usage */
function readFlags(args: string[]): NewKey {
  const text = { type: "string" } as const;
  const options = { tenant: text, name: text, scopes: text, platform: { type: "boolean" } } as const;
  const parsed = Flags.safeParse(parseArgs({ args, options }).values);
  if (!parsed.success) {
    const wrong = parsed.error.issues.map(({ path, message }) => `--${String(path[0])} ${message}.`);
    throw new Error([...new Set(wrong), usage].join("\n"));
  }
  const { tenant = null, name, scopes } = parsed.data;
  return { tenant, name, scopes };
}

async function createKey(postgresUrl: string, wanted: NewKey): Promise<{ key: string; keyId: string }> {
  const key = newApiKey();
  const sql = connectPostgres(postgresUrl, { ...connectionOptions, max: 1, prepare: false });
  try {
    return { key, keyId: await saveApiKey(sql, key, wanted) };
  } catch (cause) {
    throw new Error(`Is SCALE_POSTGRES_URL right, and did npm run migrate run? ${messageOf(cause)}`, {
      cause,
    });
  } finally {
    await sql.end({ timeout: 1 });
  }
}

try {
  readSecretFiles(process.env);
  const wanted = readFlags(process.argv.slice(2));
  const url = readPostgresUrl(givenVariables(process.env));
  const { key, keyId } = await createKey(url, wanted);
  console.log(key);
  const ownerText = wanted.tenant === null ? "the platform" : `tenant ${wanted.tenant}`;
  console.error(`${keyId} of ${ownerText} for ${wanted.scopes.join(", ")}. The key cannot be read again.`);
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
