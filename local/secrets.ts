/** The secrets of one data folder, made at its first start. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { newApiKey } from "../shared/store/api-keys.ts";

const Secrets = z.object({
  api_key: z.string().startsWith("sk-syn-"),
  rest_token: z.string(),
  state_secret: z.string(),
  stream_token_secret: z.string(),
  master_key: z.string(),
  s3_access_key_id: z.string(),
  s3_secret_access_key: z.string(),
});
export type Secrets = z.infer<typeof Secrets>;

/** Made by a start that knew of no master key. */
const Known = Secrets.partial({ master_key: true });

/** Reads `folder`/secrets.json, or makes it (readable by its owner alone). */
export function openSecrets(folder: string): Secrets {
  const file = join(folder, "secrets.json");
  const master_key = randomBytes(32).toString("base64");
  if (existsSync(file)) {
    const known = Known.parse(JSON.parse(readFileSync(file, "utf8")));
    const secrets = { ...known, master_key: known.master_key ?? master_key };
    if (known.master_key === undefined) writePrivate(file, secrets);
    return secrets;
  }
  const word = (bytes: number): string => randomBytes(bytes).toString("hex");
  const secrets: Secrets = {
    api_key: newApiKey(),
    rest_token: word(24),
    state_secret: word(32),
    stream_token_secret: word(32),
    master_key,
    s3_access_key_id: word(10),
    s3_secret_access_key: word(20),
  };
  writePrivate(file, secrets);
  return secrets;
}

/** Writes JSON that only its owner may read; who reads meanwhile sees the old or the new, never a half. */
export function writePrivate(file: string, content: unknown): void {
  const next = `${file}.next`;
  writeFileSync(next, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  renameSync(next, file);
}
