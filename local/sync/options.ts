/** The flags of `npm run sync -- …`. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { defaultDataFolder } from "../settings/options.ts";

const usage = `Usage: npm run sync -- DIR|FILE [--url http://127.0.0.1:8123] [--key sk-syn-…] [--tenant acme] [--dry-run] [--lenient] [--delete agents/agent_old] [--data DIR]
DIR has the folders tools, mcp_servers, agents and orchestrations with one JSON file a definition, and bundles of the predecessor.
Without --url and --key: SYNAPSE_URL and SYNAPSE_API_KEY, else those of npm start in .synapse/dev.json; --data names its data folder as in npm start.
--lenient ignores fields that nothing reads. --delete may be given several times. Nothing else is deleted.`;

const Facts = z.object({ api_base: z.string(), api_key: z.string() });

export type SyncOptions = {
  source: string | null;
  url: string;
  key: string;
  tenant: string | undefined;
  isDryRun: boolean;
  isLenient: boolean;
  deletions: string[];
};

/** The flags, completed from the environment and from dev.json. @throws Error with the usage for `--help`, and for flags that contradict or miss something */
export function readSyncOptions(
  args: string[],
  env: NodeJS.ProcessEnv,
  dataFolder = defaultDataFolder,
): SyncOptions {
  const text = { type: "string" } as const;
  const options = {
    url: text,
    key: text,
    tenant: text,
    data: text,
    "dry-run": { type: "boolean" },
    lenient: { type: "boolean" },
    delete: { type: "string", multiple: true },
    help: { type: "boolean" },
  } as const;
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
  const deletions = values.delete ?? [];
  const [source = null, ...more] = positionals;
  const isIncomplete = source === null && deletions.length === 0;
  if (values.help || more.length > 0 || isIncomplete) throw new Error(usage);
  const url = values.url ?? env.SYNAPSE_URL;
  const key = values.key ?? env.SYNAPSE_API_KEY;
  const facts = url === undefined || key === undefined ? factsIn(values.data ?? dataFolder) : null;
  // The key in dev.json is sent to the system of that file alone.
  if (url !== undefined && key === undefined && url !== facts?.api_base)
    throw new Error(`--key is missing.\n${usage}`);
  return {
    source,
    url: url ?? required(facts).api_base,
    key: key ?? required(facts).api_key,
    tenant: values.tenant,
    isDryRun: values["dry-run"] ?? false,
    isLenient: values.lenient ?? false,
    deletions,
  };
}

function factsIn(dataFolder: string): z.infer<typeof Facts> | null {
  const file = join(dataFolder, "dev.json");
  return existsSync(file) ? Facts.parse(JSON.parse(readFileSync(file, "utf8"))) : null;
}

function required(facts: z.infer<typeof Facts> | null): z.infer<typeof Facts> {
  if (facts === null)
    throw new Error(`--url and --key are missing, and there is no dev.json of npm start.\n${usage}`);
  return facts;
}
