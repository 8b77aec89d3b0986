/**
 * `npm run sync`: saves the definitions in a folder, or in a bundle of the predecessor, through the API. It prints a line for each
 * finding on stdout. The exit code is 1 when a definition was refused.
 */
import { messageOf } from "../../shared/log.ts";
import { readSyncOptions } from "./options.ts";
import { readSource } from "./read-source.ts";
import { sendDefinitions } from "./send.ts";

try {
  const { source, url, key, tenant, isDryRun, isLenient, deletions } = readSyncOptions(
    process.argv.slice(2),
    process.env,
  );
  const entries = source === null ? [] : readSource(source);
  const sent = await sendDefinitions({ url, key, tenant }, entries, {
    dry_run: isDryRun,
    delete: deletions,
    isLenient,
  });
  for (const { at, message } of sent.warnings) console.log(`warning  ${at}: ${message}`);
  for (const { at, message } of sent.errors) console.log(`error    ${at}: ${message}`);
  const { created, updated, unchanged, deleted } = sent.counts;
  const done = `${created} created, ${updated} updated, ${unchanged} unchanged, ${deleted} deleted`;
  console.log(
    `${isDryRun ? "Would be: " : ""}${done}; ${sent.errors.length} errors, ${sent.warnings.length} warnings.`,
  );
  if (sent.errors.length > 0) process.exitCode = 1;
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
