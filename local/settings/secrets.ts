/** The secrets of one data folder, made at its first start. */
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

const Known = z.record(z.string(), z.string());

/** Reads `folder`/secrets.json, or makes it (readable by its owner alone). One that an older start made gets what it lacks. */
export function openSecrets(folder: string): Secrets {
  const file = join(folder, "secrets.json");
  const known = existsSync(file) ? Known.parse(JSON.parse(readFileSync(file, "utf8"))) : {};
  const secrets = Secrets.parse({ ...newSecrets(), ...known });
  if (Object.keys(secrets).some((name) => !(name in known))) writePrivate(file, secrets);
  return secrets;
}

function newSecrets(): Secrets {
  const word = (bytes: number): string => randomBytes(bytes).toString("hex");
  return {
    api_key: newApiKey(),
    rest_token: word(24),
    state_secret: word(32),
    stream_token_secret: word(32),
    master_key: randomBytes(32).toString("base64"),
    metrics_token: word(24),
    s3_access_key_id: word(10),
    s3_secret_access_key: word(20),
  };
}

/** Writes JSON that only its owner may read; who reads meanwhile sees the old or the new, never a half. */
export function writePrivate(file: string, content: unknown): void {
  const next = `${file}.next`;
  writeFileSync(next, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  renameSync(next, file);
}
