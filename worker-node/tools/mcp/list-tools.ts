import { hash } from "node:crypto";
import { argumentSchemaOf } from "../../../shared/contracts/definition/tool-schema.ts";
import { schemaErrors } from "../../../shared/contracts/definition/tool-schema-errors.ts";
import { flattened, withKnownRequired, withTables } from "./flat-schema.ts";
import type { ListedTool, McpListing, McpServer } from "../../../shared/contracts/definition/index.ts";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import { ToolRejection } from "../../engine/step-errors.ts";
import type { ReachedServer } from "./connection-pool.ts";
import { SCHEMA_IN_META } from "./readable-messages.ts";

/** The most tools that a server may offer. Providers take at most 128 in a request, with all other tools. */
const MAX_TOOLS = 200;
/** The most characters of one tool as JSON: of its names, description and schema. */
const MAX_TOOL_CHARS = 32_768;
/** A longer schema is not read: what is left out of it makes no schema of this length short enough. */
const MAX_READ_CHARS = 4 * MAX_TOOL_CHARS;
const MAX_NAME_CHARS = 64;

/**
 * The tools of a server, all pages, under the names by which agents and models call them. A tool that no model can be offered is left
 * out with its reason, because providers would refuse each request that offers it; the others stay.
 * @throws as `ConnectionPool.use`
 */
export async function listTools({ access, pool }: ReachedServer): Promise<McpListing> {
  const { tools } = await pool.use(access, async ({ client, signal, timeoutMs }) => {
    // The library would return an empty list.
    if (client.getServerCapabilities()?.tools === undefined) throw noTools(access.server);
    return client.listTools(undefined, { signal, timeout: timeoutMs });
  });
  const listing: McpListing = { tools: [], left_out: [] };
  const tellApart = sharedNames(access.server, [...new Set(tools.map(({ name }) => name))]);
  const known = new Set<string>();
  for (const { name: tool, description = "", execution, ...listedAs } of tools) {
    // A server that lists a tool again means the same one. Providers refuse each request that offers a name twice.
    if (known.has(tool)) continue;
    if (tool !== "") known.add(tool);
    const { _meta: meta = {}, inputSchema: read } = listedAs;
    const inputSchema = Object.hasOwn(meta, SCHEMA_IN_META) ? meta[SCHEMA_IN_META] : read;
    const takesTasks = execution?.taskSupport === "required" || execution?.taskSupport === "optional";
    const listed = listedTool(access.server.name, { tool, description, inputSchema, takesTasks });
    const reason =
      "reason" in listed
        ? listed.reason
        : listing.tools.length >= MAX_TOOLS
          ? `only ${MAX_TOOLS} are kept`
          : null;
    if (reason !== null || "reason" in listed) {
      if (listing.left_out.length < MAX_TOOLS)
        listing.left_out.push({ tool: tool.slice(0, 200), reason: reason ?? "" });
      continue;
    }
    const isTaken = tellApart.has(listed.name) && listed.name !== `${access.server.name}__${tool}`;
    const name = isTaken ? toolName(access.server.name, tool, { isTaken }) : listed.name;
    listing.tools.push({ ...listed, name });
  }
  return listing;
}

/** The names that several tools of a server would have. Of these tools the one whose own name it is has it, in whatever order they are listed. */
function sharedNames({ name: server }: McpServer, tools: readonly string[]): ReadonlySet<string> {
  const seen = new Set<string>();
  const names = tools.map((tool) => toolName(server, tool, { isTaken: false }));
  return new Set(names.filter((name) => seen.size === seen.add(name).size));
}

function noTools({ name }: McpServer): ToolRejection {
  return new ToolRejection(`the MCP server ${name} does not declare that it has tools`, {
    code: "mcp_answer",
  });
}

type Offered = { tool: string; description: string; inputSchema: unknown; takesTasks: boolean };

function listedTool(
  server: string,
  { tool, description, inputSchema, takesTasks }: Offered,
): ListedTool | { reason: string } {
  if (tool === "") return { reason: "it has no name" };
  const given = JsonRecord.safeParse(inputSchema);
  if (!given.success) return { reason: "its inputSchema is no JSON object, or too deep" };
  const sentChars = JSON.stringify(given.data).length;
  if (sentChars > MAX_READ_CHARS)
    return { reason: `its inputSchema has ${sentChars} characters, and the tool may have ${MAX_TOOL_CHARS}` };
  const { schema: flat, more } = flattened(withTables(given.data));
  const schema = argumentSchemaOf(flat);
  if ("error" in schema) return { reason: `its inputSchema ${schema.error}` };
  const usable = withKnownRequired(schema.schema);
  const [wrong] = schemaErrors(usable, "inputSchema");
  if (wrong !== undefined) return { reason: `${wrong.path} ${wrong.message}` };
  const listed = {
    name: toolName(server, tool, { isTaken: false }),
    tool,
    description: [description, more].filter((text) => text !== "").join("\n"),
    inputSchema: usable,
    ...(takesTasks && { takes_tasks: true as const }),
  };
  const chars = JSON.stringify(listed).length;
  return chars > MAX_TOOL_CHARS
    ? { reason: `it has ${chars} characters, and may have ${MAX_TOOL_CHARS}` }
    : listed;
}

/**
 * `server__tool` in the form that every provider accepts: letters, digits, `_` and `-`, at most 64 of them. MCP allows more. A name
 * that would be too long, or that another tool has already (`isTaken`), ends in eight digits of the hash of the tool's own name. A
 * number in place of the hash would change with the order in which the server lists its tools.
 */
export function toolName(server: string, tool: string, { isTaken }: { isTaken: boolean }): string {
  const name = `${server}__${tool.replaceAll(/[^A-Za-z0-9_-]/g, "_")}`;
  if (name.length <= MAX_NAME_CHARS && !isTaken) return name;
  const digest = hash("sha256", tool).slice(0, 8);
  return `${name.slice(0, MAX_NAME_CHARS - digest.length - 1)}_${digest}`;
}
