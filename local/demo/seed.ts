/**
 * Saves the content of a new data folder: the platform key and the demo definitions. A repetition changes nothing.
 *
 * After that the definitions belong to the user: an edited definition stays edited, a deleted one stays deleted. So a newer
 * version of the product adds its new demos to an old folder, and does not change existing ones. To get a changed demo, PUT
 * its file, or start on a new folder (`--data`).
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { KINDS } from "../../edge/definitions/sync/bundle.ts";
import { Scope, SHARED } from "../../shared/contracts/tenant.ts";
import { saveApiKey } from "../../shared/store/tenants/api-keys.ts";
import { idsEverSaved } from "../../shared/store/definitions/stored-definition.ts";
import { connectionOptions, type Sql } from "../../shared/store/sql.ts";
import { projectFolder } from "../processes/programs.ts";
import { startLimitMs, tooLate } from "../processes/start-limit.ts";
import { readSource } from "../sync/read-source.ts";
import { sendDefinitions } from "../sync/send.ts";

/** Saves this data folder's key: a platform key with all scopes. */
export async function seedApiKey(postgresUrl: string, apiKey: string): Promise<void> {
  await withSql(postgresUrl, (sql) =>
    saveApiKey(sql, apiKey, { tenant: null, name: "npm start", scopes: Scope.options }),
  );
}

/**
 * The demo's search server. `url`: its URL, which replaces ${DEMO_SEARCH_URL} in definitions. `lastUrl`: its URL at the last start.
 */
type Search = { url: string; lastUrl: string };

/**
 * Saves each definition of `local/demo/definitions` that was never saved before, through the API.
 * @throws Error with the first definition that the API refuses, and why
 */
export async function seedDefinitions(
  postgresUrl: string,
  apiBase: string,
  apiKey: string,
  search: Search,
): Promise<void> {
  const all = readSource(join(projectFolder, "local/demo/definitions"), (text) =>
    text.replaceAll("${DEMO_SEARCH_URL}", search.url),
  );
  await withSql(postgresUrl, async (sql) => {
    const saved = await Promise.all(
      KINDS.map(async (kind) => [kind, await idsEverSaved(sql, kind, SHARED)] as const),
    );
    const savedIds = new Map(saved);
    const entries = all.filter(({ kind, json }) => {
      const ids = savedIds.get(kind);
      return !ids?.has(String(json["id"] ?? json["name"]));
    });
    const target = { url: apiBase, key: apiKey };
    const { errors } = await sendDefinitions(target, entries, { dry_run: false, delete: [] });
    const [first] = errors;
    if (first) throw new Error(`The demo definition ${first.at} was refused: ${first.message}`);
    if (search.url !== search.lastUrl) await moveSearchTools(sql, search);
  });
}

/**
 * Replaces the search server's URL in stored tools and MCP servers. It has another one when another program has taken its port.
 */
async function moveSearchTools(sql: Sql, { url, lastUrl }: Search): Promise<void> {
  await sql`
    update mcp_servers set definition = replace(definition, ${`"${lastUrl}/mcp"`}, ${`"${url}/mcp"`}), version = version + 1,
      updated_at = now()
    where tenant_id = ${SHARED} and deleted_at is null and strpos(definition, ${`"${lastUrl}/mcp"`}) > 0`;
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

/**
 * Waits until runs are accepted: a new Redis is cold until a worker has rebuilt its index.
 * @throws Error with the API's last response, when that takes longer than `startLimitMs`
 */
export async function untilRunsAreAccepted(apiBase: string, apiKey: string): Promise<void> {
  const headers = { authorization: `Bearer ${apiKey}` };
  let lastBody = "";
  for (const deadline = performance.now() + startLimitMs; performance.now() < deadline; await sleep(50)) {
    const answer = await fetch(`${apiBase}/api/v2/queue/stats`, {
      headers,
      signal: AbortSignal.timeout(5_000),
    });
    lastBody = await answer.text();
    if (answer.ok) return;
  }
  throw tooLate(`the queue to accept runs. The API's last response: ${lastBody}`);
}
