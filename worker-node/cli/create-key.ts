/**
 * `npm run create-key`: stores a new API key in the database of SCALE_POSTGRES_URL and prints it, once. That is the only
 * line of stdout, so that it can go into a store of secrets unseen; what else there is to say goes to stderr.
 */
import { parseArgs } from "node:util";
import postgres from "postgres";
import { z } from "zod";
import { TenantId } from "../../shared/contracts/ids.ts";
import { Scope } from "../../shared/contracts/tenant.ts";
import { messageOf } from "../../shared/log.ts";
import { newApiKey, saveApiKey, type NewKey } from "../../shared/store/tenants/api-keys.ts";
import { connectionOptions } from "../../shared/store/sql.ts";

const usage = `Write npm run create-key -- --tenant acme --name ops; --platform instead of --tenant: it may name any tenant;
--scopes ${Scope.options.join(",")}: what it may do, by default all of them.`;

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
  // A key of the platform opens every tenant, so it is not what a forgotten flag makes.
  .refine(({ tenant, platform }) => platform === (tenant === undefined), {
    path: ["tenant"],
    message: "or --platform must be given, one of them",
  });

/** @throws Error with a sentence for each wrong flag, and the usage. */
function readFlags(args: string[]): NewKey {
  const text = { type: "string" } as const;
  const options = { tenant: text, name: text, scopes: text, platform: { type: "boolean" } } as const;
  const read = Flags.safeParse(parseArgs({ args, options }).values);
  if (!read.success) {
    const wrong = read.error.issues.map(({ path, message }) => `--${String(path[0])} ${message}.`);
    throw new Error([...new Set(wrong), usage].join("\n"));
  }
  const { tenant = null, name, scopes } = read.data;
  return { tenant, name, scopes };
}

async function createKey(postgresUrl: string, wanted: NewKey): Promise<{ key: string; keyId: string }> {
  const key = newApiKey();
  const sql = postgres(postgresUrl, { ...connectionOptions, max: 1, prepare: false });
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
  const wanted = readFlags(process.argv.slice(2));
  const url = process.env.SCALE_POSTGRES_URL;
  if (!url) {
    throw new Error("SCALE_POSTGRES_URL is not set: write postgres://user:password@host:5432/database");
  }
  const { key, keyId } = await createKey(url, wanted);
  console.log(key);
  const whose = wanted.tenant === null ? "the platform" : `tenant ${wanted.tenant}`;
  console.error(`${keyId} of ${whose} for ${wanted.scopes.join(", ")}. Nobody can read the key again.`);
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
