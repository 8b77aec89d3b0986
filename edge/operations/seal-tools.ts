import { z } from "zod";
import { withoutSecrets } from "../../shared/contracts/definition/tool-secrets.ts";
import { log } from "../../shared/log.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { SEALED_TEXT, readStoredTool, sealSecret, storedText } from "../../shared/security/sealed-tool.ts";
import type { Sql } from "../../shared/store/sql.ts";

/** The most tools that are sealed at one time. */
const PAGE = 200;

const Row = z.object({ owner: z.string(), id: z.string(), definition: z.string() });

/**
 * Part of the periodic work: seals the secrets of tools that were saved before secrets were sealed, deleted ones too.
 *
 * The edge does it, and no worker: workers are deployed before edges, so by then every worker can open sealed tools. A tool
 * that is saved meanwhile stays as it was saved. A deleted tool that retention has emptied has no secrets, and its text stays: written here,
 * it would be emptied and written again for ever.
 */
export async function sealTools(sql: Sql, key: MasterKeys): Promise<void> {
  const rows = await sql`
    select tenant_id as owner, id, definition from tools
    where not starts_with(definition, ${SEALED_TEXT}) and definition <> '{}' order by tenant_id, id limit ${PAGE}`;
  let sealedTools = 0;
  for (const row of rows) {
    const { owner, id, definition } = Row.parse(row);
    const { shown, secrets } = withoutSecrets(readStoredTool(definition));
    const sealed = Object.entries(secrets).map(
      async ([path, secret]) => [path, await sealSecret(key, { owner, name: id }, path, secret)] as const,
    );
    const text = storedText(shown, Object.fromEntries(await Promise.all(sealed)));
    const { count } = await sql`
      update tools set definition = ${text}
      where tenant_id = ${owner} and id = ${id} and definition = ${definition}`;
    sealedTools += count;
  }
  if (sealedTools > 0) log.info("tools.sealed", { count: sealedTools });
}
