/** compose.yaml and the Dockerfile as a container engine reads them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { projectFolder } from "../../local/processes/programs.ts";

const Service = z.looseObject({
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).default({}),
  healthcheck: z.object({ test: z.array(z.string()) }).loose(),
});

/** A value for each variable that `.env` must have. */
export const secrets: Record<string, string> = {
  POSTGRES_PASSWORD: "postgres-password",
  REDIS_PASSWORD: "redis-password",
  REDIS_REST_TOKEN: "redis-rest-token",
  STREAM_TOKEN_SECRET: "a-stream-token-secret",
  METRICS_TOKEN: "a-token-for-metrics",
  S3_SECRET_ACCESS_KEY: "s3-secret",
  MASTER_KEY: "0".repeat(64),
};

const Compose = z.looseObject({ services: z.record(z.string(), Service) });

/**
 * Reads compose.yaml.
 * @param env what `.env` has
 * @throws Error for a variable that is required and that `env` lacks
 */
export function readCompose(env: Record<string, string>): z.infer<typeof Compose> {
  const document: unknown = parse(composeText(), { merge: true });
  const interpolated = JSON.stringify(document, (_, value: unknown) =>
    typeof value === "string" ? withVariables(value, env) : value,
  );
  return Compose.parse(JSON.parse(interpolated));
}

export function composeText(): string {
  return readFileSync(join(projectFolder, "compose.yaml"), "utf8");
}

/** `${NAME}`, `${NAME:-default}` and `${NAME:?message}` become values, `$$` becomes `$`. A default may hold another variable. */
function withVariables(text: string, env: Record<string, string>): string {
  return text.replaceAll(
    /\$\$|\$\{(\w+)(?::([-?])((?:\$\{[^}]*\}|[^}])*))?\}/g,
    (all, name: string | undefined, operator: string | undefined, operand = "") => {
      if (name === undefined) return "$";
      const value = env[name];
      if (value) return value;
      if (operator === "?") throw new Error(`${name}: ${operand}`);
      if (operator === undefined) throw new Error(`${all} has no value`);
      return withVariables(operand, env);
    },
  );
}

/** The program and the arguments that come before those of a container. */
export function entrypoint(): string[] {
  const line = /^ENTRYPOINT (.+)$/m.exec(readFileSync(join(projectFolder, "Dockerfile"), "utf8"));
  return z
    .array(z.string())
    .min(1)
    .parse(JSON.parse(line?.[1] ?? "null"));
}
