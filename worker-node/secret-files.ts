/** Secrets that come as files, as Docker and Kubernetes mount them. */
import { readFileSync } from "node:fs";
import { messageOf } from "../shared/log.ts";

/** The variables that hold secrets, and the URLs that may hold a password. */
export const secretVariables = [
  "REDIS_URL",
  "SCALE_POSTGRES_URL",
  "SCALE_POSTGRES_DIRECT_URL",
  "REDIS_REST_TOKEN",
  "REDIS_REST_READONLY_TOKEN",
  "UPSTASH_REDIS_REST_TOKEN",
  "STATE_SECRET",
  "STREAM_TOKEN_SECRET",
  "MASTER_KEY",
  "MASTER_KEYS",
  "METRICS_TOKEN",
  "OTEL_EXPORTER_OTLP_HEADERS",
  "S3_ACCESS_KEY_ID",
  "S3_SECRET_ACCESS_KEY",
  "SMTP_URL",
  "OPENAI_API_KEY",
  "OPENAI_COMPATIBLE_API_KEY",
  "ANTHROPIC_API_KEY",
  "GOOGLE_GENERATIVE_AI_API_KEY",
  "GEMINI_API_KEY",
];

/** More than any of these secrets has. */
export const MAX_SECRET_BYTES = 65_536;

/**
 * Replaces each `NAME_FILE` of a secret by `NAME` with the text of that file. Every program calls it before it reads a variable, so all that
 * reads the environment finds the secret under its one name. An empty variable counts as not set.
 * @throws Error with a line for each secret that is set twice or whose file has none; it quotes no secret
 */
export function readSecretFiles(env: NodeJS.ProcessEnv): void {
  const faults: string[] = [];
  for (const name of secretVariables) {
    const variable = `${name}_FILE`;
    const file = env[variable]?.trim() ?? "";
    delete env[variable];
    if (file === "") continue;
    if (env[name]?.trim()) faults.push(`${name} and ${variable} are both set: leave one of them out`);
    else {
      try {
        env[name] = secretIn(file);
      } catch (error) {
        faults.push(`${variable} ${messageOf(error)}`);
      }
    }
  }
  if (faults.length > 0) throw new Error(faults.join("\n"));
}

function secretIn(file: string): string {
  const bytes = bytesOf(file);
  if (bytes.length > MAX_SECRET_BYTES)
    throw new Error(`names a file of more than ${MAX_SECRET_BYTES} bytes, which is no secret`);
  const text = bytes.toString().trim();
  if (text === "") throw new Error("names an empty file");
  return text;
}

/** The error has the code of the system alone: its message quotes the name, which may be the secret itself by mistake. */
function bytesOf(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    throw new Error(`must name a file that can be read: ${code}`, { cause });
  }
}
