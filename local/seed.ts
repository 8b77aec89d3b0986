/** What a new data folder starts with: the platform key and the demo definitions. Doing it again changes nothing. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { Scope } from "../shared/contracts/tenant.ts";
import { saveApiKey } from "../shared/store/api-keys.ts";
import { connectionOptions } from "../shared/store/sql.ts";
import { projectFolder } from "./programs.ts";

/** Stores the key of this data folder: of the platform, with all scopes. */
export async function seedApiKey(postgresUrl: string, apiKey: string): Promise<void> {
  const sql = postgres(postgresUrl, { ...connectionOptions, max: 1 });
  try {
    await saveApiKey(sql, apiKey, { tenant: null, name: "npm start", scopes: Scope.options });
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/**
 * PUTs `local/definitions/<kind>/<id>.json` through the API, as any client would.
 * @param searchUrl stands for ${DEMO_SEARCH_URL} in them: the server that answers the demo's searches.
 * @throws Error with the API's words for the first one that it refuses.
 */
export async function seedDefinitions(apiBase: string, apiKey: string, searchUrl: string): Promise<void> {
  // In this order: agents name tools, orchestrations name agents.
  for (const kind of ["tools", "agents", "orchestrations"]) {
    const folder = join(projectFolder, "local/definitions", kind);
    const files = readdirSync(folder).filter((name) => name.endsWith(".json"));
    const puts = files.map((file) => {
      const definition = readFileSync(join(folder, file), "utf8").replaceAll("${DEMO_SEARCH_URL}", searchUrl);
      return put(`${apiBase}/api/v2/${kind}/${basename(file, ".json")}`, definition, apiKey);
    });
    await Promise.all(puts);
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
