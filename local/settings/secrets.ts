/** The secrets of one data folder. They are created at its first start. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { newApiKey } from "../../shared/store/tenants/api-keys.ts";

const Secrets = z.object({
  api_key: z.string().startsWith("sk-syn-"),
  rest_token: z.string(),
  state_secret: z.string(),
  stream_token_secret: z.string(),
  master_key: z.string(),
  metrics_token: z.string(),
  s3_access_key_id: z.string(),
  s3_secret_access_key: z.string(),
});
export type Secrets = z.infer<typeof Secrets>;

const Stored = z.record(z.string(), z.string());

/**
 * Reads or creates `folder`/secrets.json, which only its owner can read. Secrets that an older version did not write are added.
 */
export function openSecrets(folder: string): Secrets {
  const file = join(folder, "secrets.json");
  const stored = existsSync(file) ? Stored.parse(JSON.parse(readFileSync(file, "utf8"))) : {};
  const secrets = Secrets.parse({ ...newSecrets(), ...stored });
  if (Object.keys(secrets).some((name) => !(name in stored))) writePrivate(file, secrets);
  return secrets;
}

function newSecrets(): Secrets {
  const hex = (bytes: number): string => randomBytes(bytes).toString("hex");
  return {
    api_key: newApiKey(),
    rest_token: hex(24),
    state_secret: hex(32),
    stream_token_secret: hex(32),
    master_key: randomBytes(32).toString("base64"),
    metrics_token: hex(24),
    s3_access_key_id: hex(10),
    s3_secret_access_key: hex(20),
  };
}

/** Writes JSON that only its owner may read. A reader sees the old or the new content, never a part. */
export function writePrivate(file: string, content: unknown): void {
  const next = `${file}.next`;
  writeFileSync(next, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  renameSync(next, file);
}
