/**
 * Saves what a new data folder starts with: the platform key and the demo definitions. Repeating it changes nothing.
 *
 * After that the definitions belong to their user: an edited one stays edited, a deleted one stays deleted. A newer
 * version of the product therefore adds its new demos to an old folder, but does not change existing ones: PUT the
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
import { startLimitMs, tooLate } from "../processes/start-limit.ts";

/** Saves this data folder's key: a platform key with all scopes. */
export async function seedApiKey(postgresUrl: string, apiKey: string): Promise<void> {
  await withSql(postgresUrl, (sql) =>
    saveApiKey(sql, apiKey, { tenant: null, name: "npm start", scopes: Scope.options }),
  );
}

/**
 * The demo's search server. `url` replaces ${DEMO_SEARCH_URL} in definitions; `lastUrl` is its URL at the last
 * start.
 */
type Search = { url: string; lastUrl: string };

/**
 * PUTs each of `local/demo/definitions/<kind>/<id>.json` that was never saved before, through the API.
 * @throws Error with the API's response to the first definition that it refuses
 */
export async function seedDefinitions(
  postgresUrl: string,
  apiBase: string,
  apiKey: string,
  search: Search,
): Promise<void> {
  await withSql(postgresUrl, async (sql) => {
    // The order matters: agents name tools, orchestrations name agents.
    for (const kind of ["tools", "agents", "orchestrations"] as const) {
      const savedIds = await idsEverSaved(sql, kind, SHARED);
      const folder = join(projectFolder, "local/demo/definitions", kind);
      const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
      const puts = files.map(async (file) => {
        const id = basename(file, ".json");
        if (savedIds.has(id)) return;
        const definition = readFileSync(join(folder, file), "utf8");
        await put(
          `${apiBase}/api/v2/${kind}/${id}`,
          definition.replaceAll("${DEMO_SEARCH_URL}", search.url),
          apiKey,
        );
      });
      await Promise.all(puts);
    }
    if (search.url !== search.lastUrl) await moveSearchTools(sql, search);
  });
}

/**
 * The search server has a new port, because another program took the old one: tools that name the old URL get the
 * new one.
 */
async function moveSearchTools(sql: Sql, { url, lastUrl }: Search): Promise<void> {
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
