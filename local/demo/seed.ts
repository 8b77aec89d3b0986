/**
 * What a new data folder starts with: the platform key and the demo definitions. Doing it again changes nothing.
 *
 * From then on the definitions are their user's: what was edited stays edited, what was deleted stays deleted. So a
 * newer product brings its new demos to an old folder, and its changes to those that are there do not arrive: PUT the
 * file, or start on a new folder (`--data`).
 */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { Scope, SHARED } from "../../shared/contracts/tenant.ts";
import { saveApiKey } from "../../shared/store/tenants/api-keys.ts";
import { idsEverSaved } from "../../shared/store/definitions/stored-definition.ts";
import { connectionOptions, type Sql } from "../../shared/store/sql.ts";
import { projectFolder } from "../processes/programs.ts";

/** Stores the key of this data folder: of the platform, with all scopes. */
export async function seedApiKey(postgresUrl: string, apiKey: string): Promise<void> {
  await withSql(postgresUrl, (sql) =>
    saveApiKey(sql, apiKey, { tenant: null, name: "npm start", scopes: Scope.options }),
  );
}

/** `url` stands for ${DEMO_SEARCH_URL} in definitions: the server that answers the demo's searches. */
type Search = { url: string; /** Where it was at the last start. */ lastUrl: string };

/**
 * PUTs those of `local/demo/definitions/<kind>/<id>.json` that never were there through the API, as any client would.
 * @throws Error with the API's words for the first one that it refuses.
 */
export async function seedDefinitions(
  postgresUrl: string,
  apiBase: string,
  apiKey: string,
  search: Search,
): Promise<void> {
  await withSql(postgresUrl, async (sql) => {
    // In this order: agents name tools, orchestrations name agents.
    for (const kind of ["tools", "agents", "orchestrations"] as const) {
      const known = await idsEverSaved(sql, kind, SHARED);
      const folder = join(projectFolder, "local/demo/definitions", kind);
      const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
      const puts = files.map(async (file) => {
        const id = basename(file, ".json");
        if (known.has(id)) return;
        const definition = readFileSync(join(folder, file), "utf8");
        await put(
          `${apiBase}/api/v2/${kind}/${id}`,
          definition.replaceAll("${DEMO_SEARCH_URL}", search.url),
          apiKey,
        );
      });
      await Promise.all(puts);
    }
    if (search.url !== search.lastUrl) await followSearch(sql, search);
  });
}

/** The server's old port was taken by another program: tools that name it go where it is now, and stay what they are else. */
async function followSearch(sql: Sql, { url, lastUrl }: Search): Promise<void> {
  const [from, to] = [`"${lastUrl}/search"`, `"${url}/search"`];
  await sql`
    update tools set definition = replace(definition, ${from}, ${to}), version = version + 1, updated_at = now()
    where tenant_id = ${SHARED} and deleted_at is null and strpos(definition, ${from}) > 0`;
}

async function withSql(postgresUrl: string, work: (sql: Sql) => Promise<unknown>): Promise<void> {
  const sql = postgres(postgresUrl, { ...connectionOptions, max: 1 });
  try {
    await work(sql);
  } finally {
    await sql.end({ timeout: 1 });
  }
}

async function put(url: string, body: string, apiKey: string): Promise<void> {
  const answer = await fetch(url, {
    method: "PUT",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body,
    signal: AbortSignal.timeout(10_000),
  });
  if (!answer.ok) throw new Error(`PUT ${url} answered ${answer.status}: ${await answer.text()}`);
  await answer.body?.cancel();
}

/**
 * Waits until runs are taken: an empty Redis knows nothing until a worker has shown it what Postgres holds.
 * @throws Error with the API's last words, when that takes more than 20 s.
 */
export async function untilRunsAreTaken(apiBase: string, apiKey: string): Promise<void> {
  const headers = { authorization: `Bearer ${apiKey}` };
  let said = "";
  for (const deadline = performance.now() + 20_000; performance.now() < deadline; await sleep(50)) {
    const answer = await fetch(`${apiBase}/api/v2/queue/stats`, {
      headers,
      signal: AbortSignal.timeout(5_000),
    });
    said = await answer.text();
    if (answer.ok) return;
  }
  throw new Error(`The queue was not ready within 20 s: ${said}`);
}
