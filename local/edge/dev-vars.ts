/** What a plain `npx wrangler dev` beside a running `npm start` needs: `.dev.vars`, and `.env` for wrangler itself. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const mark = "# The first lines are written by npm start. Others stay as they are.";

/**
 * Puts `values` at the top of `folder`/`name`; what stands there under other names stays.
 * The file is not touched when nothing changed: wrangler starts anew when it is.
 */
export function writeVariables(
  folder: string,
  name: ".dev.vars" | ".env",
  values: Record<string, string>,
): void {
  const file = join(folder, name);
  const before = existsSync(file) ? readFileSync(file, "utf8") : "";
  const theirs = before
    .split("\n")
    .filter((line) => line !== mark && !Object.keys(values).some((key) => line.startsWith(`${key}=`)));
  const ours = Object.entries(values).map(([key, value]) => `${key}="${value}"`);
  const after = [mark, ...ours, ...theirs].join("\n").trimEnd() + "\n";
  if (after !== before) writeFileSync(file, after, { mode: 0o600 });
}
