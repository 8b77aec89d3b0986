/** The files that `npx wrangler dev` needs beside a running `npm start`: `.dev.vars` for the Worker, `.env` for wrangler itself. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const mark = "# The first lines are written by npm start. Others stay as they are.";

/**
 * Writes `values` to the top of `folder`/`name`, and keeps the variables of other names. A file that would not change is not
 * written, because wrangler restarts after each write.
 */
export function writeVariables(
  folder: string,
  name: ".dev.vars" | ".env",
  values: Record<string, string>,
): void {
  const file = join(folder, name);
  const before = existsSync(file) ? readFileSync(file, "utf8") : "";
  const kept = before
    .split("\n")
    .filter((line) => line !== mark && !Object.keys(values).some((key) => line.startsWith(`${key}=`)));
  const written = Object.entries(values).map(([key, value]) => `${key}="${value}"`);
  const after = [mark, ...written, ...kept].join("\n").trimEnd() + "\n";
  if (after !== before) writeFileSync(file, after, { mode: 0o600 });
}

/** Writes `values` to the file that `wrangler dev --env-file` reads. It would expand a dollar sign that has no backslash. */
export function writeEnvFile(file: string, values: Record<string, string>): void {
  const lines = Object.entries(values).map(([key, value]) => `${key}="${value.replaceAll("$", "\\$")}"`);
  writeFileSync(file, `${lines.join("\n")}\n`, { mode: 0o600 });
}
