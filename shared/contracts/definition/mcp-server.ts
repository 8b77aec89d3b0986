import { z } from "zod";
import { JsonTable, limits, orDefault, orNull, Public, Strings, tableOf, text } from "./fields.ts";

const NAME_RULE =
  "must be 1 to 32 letters, digits, _ or -, begin with a letter, and have no __ and no _ at its end";

/**
 * The name of an MCP server, the first part of its tools' names: `github` in `github__search`. It has no `__`, so that a tool's
 * name leads to one server, and leaves half of a name's 64 characters to the tool.
 */
const ServerName = z
  .string()
  .max(32, NAME_RULE)
  .regex(/^[A-Za-z](?:_?[A-Za-z0-9-])*$/, NAME_RULE);

/** How long a call waits for a person or a task by default: a day. */
const DEFAULT_WAIT_SECONDS = 86_400;

/** Credentials of the OAuth grant `client_credentials`. They go to this issuer and to no other that the server may name. */
export const OAuthClient = z.object({
  issuer: z.url({ protocol: /^https?$/, error: "must be the http or https URL of the authorization server" }),
  client_id: z.string().min(1).max(1_000),
  client_secret: z.string().min(1).max(8_192),
  scope: text(1_000),
});

/** An MCP server as its author writes it. */
export const McpServerDocument = z.object({
  name: ServerName,
  label: orNull(z.string().max(limits.nameChars)),
  description: text(limits.descriptionChars),
  server_type: orDefault(z.enum(["remote", "stdio"]).default("remote")),
  url: text(2_048),
  /** Of a server of type stdio: the name of an entry of the operator's MCP_STDIO_ALLOW, which holds the command. */
  command: text(100),
  headers: orDefault(tableOf(limits.headers, z.string().max(200), z.string().max(8_192)).default({})),
  /** Headers whose values are no secrets: the values of all others are sealed, and masked in answers. */
  public_headers: Strings(limits.keys),
  /** A short form of the header `Authorization: Bearer <token>`: it is stored as that header. */
  token: text(8_192),
  oauth: orNull(OAuthClient),
  /** How long a call may wait for a person's answer, or for the task that the server has made of it. */
  wait_timeout_seconds: orDefault(
    z.number().int().min(1).max(limits.waitSeconds).default(DEFAULT_WAIT_SECONDS),
  ),
  public: Public,
});
export type McpServerDocument = z.infer<typeof McpServerDocument>;

/** An MCP server that a worker can reach. */
export type McpServer = Omit<McpServerDocument, "token">;

/** A tool of an MCP server: `name` is the name by which agents, steps and models call it, `tool` the server's own. */
const ListedTool = z.object({
  name: z.string(),
  tool: z.string(),
  description: z.string(),
  inputSchema: JsonTable,
  /** The server may make a task of a call (protocol 2025-11-25; later ones do so by themselves). */
  takes_tasks: z.literal(true).exactOptional(),
});
export type ListedTool = z.infer<typeof ListedTool>;

/** What a worker found at a server. `left_out`: tools that no model can be offered, and why. */
export const McpListing = z.object({
  tools: z.array(ListedTool),
  left_out: z.array(z.object({ tool: z.string(), reason: z.string() })),
});
export type McpListing = z.infer<typeof McpListing>;

/** A tool of an MCP server, with everything that a call needs. `server` is the definition as it is stored, with sealed secrets. */
export const McpTool = ListedTool.extend({
  tool_type: z.literal("mcp"),
  server: z.looseObject({
    name: z.string(),
    owner: z.string(),
    /** A server that was saved by an earlier version has none. */
    wait_timeout_seconds: z.number().default(DEFAULT_WAIT_SECONDS),
  }),
});
export type McpTool = z.infer<typeof McpTool>;
