/** The definitions in a file or a folder, for `POST /scale/sync`. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, extname, join, relative } from "node:path";
import { z } from "zod";
import { KINDS } from "../../edge/definitions/sync/bundle.ts";
import { roundedIntegers } from "../../shared/contracts/long-integers.ts";
import { repeatedKeys } from "../../shared/contracts/repeated-keys.ts";
import { pathText } from "../../shared/errors.ts";

type Kind = (typeof KINDS)[number];

/** A definition that was read. `at`: its file, and its place in a bundle. */
export type SourceEntry = { kind: Kind; at: string; json: Record<string, unknown> };

const Table = z.record(z.string(), z.unknown());
const Lists = z.looseObject({
  tools: z.array(z.unknown()).nullish(),
  custom_tools: z.array(z.unknown()).nullish(),
  mcp_servers: z.array(z.unknown()).nullish(),
  agents: z.array(z.unknown()).nullish(),
  orchestrations: z.array(z.unknown()).nullish(),
});

/**
 * Reads a bundle, a definition, or a folder of both: `<kind>/<id>.json`, and JSON files beside these folders. They are returned kind
 * by kind, in the order in which they are saved. As in a request, what would be read with another value is refused.
 * @param change changes the text of each file before it is parsed
 * @throws Error that names what does not exist, is no UTF-8, is no JSON, has a key twice or an integer beyond 2^53, or is no definition
 */
export function readSource(path: string, change = (text: string): string => text): SourceEntry[] {
  if (!existsSync(path))
    throw new Error(`${path} does not exist: name a folder of definitions, or a JSON file`);
  const read = (file: string): unknown => parse(file, change(textOf(file)));
  const found = statSync(path).isDirectory() ? readFolder(path, read) : entriesIn(read(path), basename(path));
  return KINDS.flatMap((kind) => withoutCopies(found.filter((entry) => entry.kind === kind)));
}

/** Leaves out repetitions: bundles that belong together repeat the definitions that they share. A field that is null counts as absent. */
function withoutCopies(entries: readonly SourceEntry[]): SourceEntry[] {
  const seen = new Set<string>();
  return entries.filter(({ json }) => {
    const fields = Object.entries(json).filter(([, value]) => value !== null);
    const text = JSON.stringify(fields.toSorted(([a], [b]) => (a < b ? -1 : 1)));
    return seen.size < seen.add(text).size;
  });
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function textOf(file: string): string {
  try {
    return utf8.decode(readFileSync(file));
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new Error(`${file} has bytes that are no UTF-8: save it in UTF-8`, { cause });
  }
}

function parse(file: string, text: string): unknown {
  const json = parseJson(file, text);
  const [repeated] = repeatedKeys(text, json);
  if (repeated !== undefined) {
    throw new Error(`${file} has ${pathText(repeated)} twice, and only one value can be read: write it once`);
  }
  const [rounded] = roundedIntegers(text);
  if (rounded === undefined) return json;
  throw new Error(
    `${file} has an integer beyond 2^53 as ${pathText(rounded)}, which is read with other digits: write its digits as text`,
  );
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`${file} is no JSON: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}

function readFolder(folder: string, read: (file: string) => unknown): SourceEntry[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter(({ name }) => !name.startsWith("."))
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (!entry.isDirectory()) {
        return isJson(entry.name) ? entriesIn(read(path), entry.name) : [];
      }
      const kind = KINDS.find((one) => one === entry.name);
      if (kind === undefined)
        throw new Error(`${path} is no folder of definitions: they are ${KINDS.join(", ")}`);
      return jsonFilesIn(path).map((file) => ofKind(kind, read(file), relative(folder, file)));
    });
}

function jsonFilesIn(folder: string): string[] {
  const entries = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.startsWith("."));
  const inner = entries.find((entry) => entry.isDirectory());
  if (inner !== undefined) {
    const path = join(folder, inner.name);
    throw new Error(`${path} is a folder, and a folder of a kind has files alone: put its files beside it`);
  }
  const names = entries.map(({ name }) => name).filter(isJson);
  return names.toSorted().map((name) => join(folder, name));
}

function isJson(name: string): boolean {
  return extname(name).toLowerCase() === ".json";
}

/** The definition in a file of a kind's folder. The name of the file is the id, unless the definition has one. */
function ofKind(kind: Kind, json: unknown, file: string): SourceEntry {
  const table = Table.safeParse(json);
  if (!table.success) throw new Error(`${file} is no definition: it must be a JSON object`);
  return { kind, at: file, json: named(kind, table.data, file) };
}

function named(kind: Kind, json: Record<string, unknown>, file: string): Record<string, unknown> {
  const field = kind === "tools" || kind === "mcp_servers" ? "name" : "id";
  return { [field]: basename(file, extname(file)), ...json };
}

/** The definitions in a file that may be a bundle, a definition, or a list of definitions. */
function entriesIn(json: unknown, file: string): SourceEntry[] {
  if (Array.isArray(json)) return json.flatMap((item, i) => definitionIn(item, `${file} [${i}]`));
  const lists = Lists.safeParse(json);
  const given = lists.success ? listsOf(lists.data) : [];
  if (given.length === 0) {
    return definitionIn(json, file).map((entry) => ({ ...entry, json: named(entry.kind, entry.json, file) }));
  }
  return given.flatMap(([list, kind, items]) =>
    items.map((item, i) => {
      const at = `${file} ${list}[${i}]`;
      const table = Table.safeParse(item);
      if (!table.success) throw new Error(`${at} is no definition: it must be a JSON object`);
      return { kind, at, json: table.data };
    }),
  );
}

function listsOf(bundle: z.infer<typeof Lists>): [string, Kind, unknown[]][] {
  const isBundle = bundle["synapse_export"] === true || !("steps" in bundle || "system_prompt" in bundle);
  if (!isBundle) return [];
  return (["tools", "custom_tools", ...KINDS.slice(1)] as const).flatMap((list) => {
    const items = bundle[list];
    const kind = KINDS.find((one) => one === list) ?? "tools";
    return Array.isArray(items) ? [[list, kind, items] satisfies [string, Kind, unknown[]]] : [];
  });
}

/** A definition outside of the kinds' folders: its fields decide its kind. The predecessor's list of example files is skipped. */
function definitionIn(json: unknown, at: string): SourceEntry[] {
  const table = Table.safeParse(json);
  const fields: Record<string, unknown> = table.success ? table.data : {};
  if ("file" in fields && "orchestration_count" in fields) return [];
  const kind = kindOf(fields);
  if (kind !== null) return [{ kind, at, json: fields }];
  throw new Error(
    `${at} is no bundle and no definition: put it into a folder ${KINDS.join(", ")}, or remove it`,
  );
}

function kindOf(fields: Record<string, unknown>): Kind | null {
  if ("steps" in fields) return "orchestrations";
  if ("tool_type" in fields) return "tools";
  if ("system_prompt" in fields) return "agents";
  return "server_type" in fields ? "mcp_servers" : null;
}
