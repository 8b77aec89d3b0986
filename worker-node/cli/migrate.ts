/**
 * `npm run migrate`: migrates the database of SCALE_POSTGRES_DIRECT_URL, or else of SCALE_POSTGRES_URL, to the newest schema. With
 * `-- --partition-journal` it then divides the journal of a database from before migration 0045 into days.
 */
import { parseArgs } from "node:util";
import { migrate } from "../clients/migrations.ts";
import { partitionJournal } from "../clients/partition-journal.ts";

const url = process.env.SCALE_POSTGRES_DIRECT_URL ?? process.env.SCALE_POSTGRES_URL;
if (!url) {
  throw new Error("SCALE_POSTGRES_URL is not set: write postgres://user:password@host:5432/database");
}
const { values } = parseArgs({ options: { "partition-journal": { type: "boolean", default: false } } });
await migrate(url);
if (values["partition-journal"]) await partitionJournal(url);
