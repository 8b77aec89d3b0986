/** `npm run migrate`: migrates the database of SCALE_POSTGRES_DIRECT_URL, or else of SCALE_POSTGRES_URL, to the newest schema. */
import { migrate } from "../clients/migrations.ts";

const url = process.env.SCALE_POSTGRES_DIRECT_URL ?? process.env.SCALE_POSTGRES_URL;
if (!url) {
  throw new Error("SCALE_POSTGRES_URL is not set: write postgres://user:password@host:5432/database");
}
await migrate(url);
