/**
 * `npm run migrate`: migrates the database of SCALE_POSTGRES_DIRECT_URL, or else of SCALE_POSTGRES_URL, to the newest schema. With
 * `-- --partition-journal` it then divides the journal of a database from before migration 0045 into days.
 */
import { parseArgs } from "node:util";
import { givenVariables } from "../../shared/given-variables.ts";
import { messageOf } from "../../shared/log.ts";
import { migrate } from "../clients/migrations.ts";
import { partitionJournal } from "../clients/partition-journal.ts";
import { readPostgresUrl } from "../clients/postgres-url.ts";
import { readSecretFiles } from "../secret-files.ts";

try {
  readSecretFiles(process.env);
  const { values } = parseArgs({ options: { "partition-journal": { type: "boolean", default: false } } });
  const names = ["SCALE_POSTGRES_DIRECT_URL", "SCALE_POSTGRES_URL"] as const;
  const url = readPostgresUrl(givenVariables(process.env), names);
  await migrate(url);
  if (values["partition-journal"]) await partitionJournal(url);
} catch (error) {
  console.error(messageOf(error));
  process.exitCode = 1;
}
