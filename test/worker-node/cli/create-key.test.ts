import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Scope } from "../../../shared/contracts/tenant.ts";
import { findPrincipal } from "../../../shared/store/tenants/api-keys.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { testConnection } from "../../services/databases.ts";
import { freshDatabase } from "../../services/services.ts";
import { runProgram } from "./run-program.ts";

let url: string;
let sql: Sql;
beforeAll(async () => {
  url = await freshDatabase();
  sql = postgres(url, { ...testConnection, max: 1 });
});
afterAll(() => sql.end());

const createKey = (flags: string[], postgresUrl = url) =>
  runProgram("create-key.ts", { SCALE_POSTGRES_URL: postgresUrl }, flags);

// Fails when the printed key is not the stored one, or is printed outside its own line.
test.each([
  ["--tenant acme", { tenant: "acme", scopes: Scope.options }],
  ["--tenant acme --scopes runs:read,runs:write", { tenant: "acme", scopes: ["runs:read", "runs:write"] }],
  ["--platform", { tenant: null, scopes: Scope.options }],
])("%s prints a key that works from then on, on stdout only", async (flags, principal) => {
  const { stdout, stderr, code } = await createKey([...flags.split(" "), "--name", "ops"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^sk-syn-[0-9a-f]{64}\n$/);
  const found = await findPrincipal(sql, stdout.trim());
  expect(found).toMatchObject(principal);
  expect(stderr).toContain(found?.key_id);
  expect(stderr).not.toContain("sk-syn-");
});

// Fails when a forgotten --tenant makes a key for all tenants.
test.each([
  ["--name ops", "--tenant or --platform is required"],
  ["--name ops --tenant acme --platform", "--tenant or --platform is required, and not both"],
  ["--tenant acme", "--name is missing"],
  ["--tenant a/b --name ops", "--tenant must be 1 to 64 letters"],
  ["--tenant acme --name ops --scopes all", "--scopes must be names out of runs:write"],
])("%s is refused with a sentence, and nothing is stored", async (flags, sentence) => {
  const [before] = await sql`select count(*) from api_keys`;
  const { stdout, stderr, code } = await createKey(flags.split(" "));
  expect([code, stdout]).toEqual([1, ""]);
  expect(stderr).toContain(sentence);
  expect(await sql`select count(*) from api_keys`).toEqual([before]);
});

test("the error for a database that is not ready names what to check", async () => {
  const { stderr, code } = await createKey(["--platform", "--name", "ops"], `${url}_none`);
  expect(code).toBe(1);
  expect(stderr).toContain("Is SCALE_POSTGRES_URL right, and did npm run migrate run?");
});
