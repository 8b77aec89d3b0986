import { McpListing } from "../../shared/contracts/definition/index.ts";
import type { McpServer } from "../../shared/contracts/definition/index.ts";
import type { FieldError } from "../../shared/errors.ts";
import type { McpListingState } from "../../shared/store/definitions/mcp-servers.ts";

/**
 * What is known of an MCP server's tools. `state`: `pending` until a worker has tried to list them since the last save, then `listed`
 * or `failed`, with the reason in `error` and the time in `failed_at`. `tools`: those of the last list that succeeded; runs use them until a newer list succeeds.
 */
export function listingView(found: McpListingState | null) {
  const listing = found?.listing ? McpListing.parse(JSON.parse(found.listing)) : { tools: [], left_out: [] };
  const error = found?.list_error ?? null;
  return {
    state: error !== null ? "failed" : found?.is_current ? "listed" : "pending",
    listed_at: found?.listed_at?.toISOString() ?? null,
    failed_at: error === null ? null : (found?.tried_at.toISOString() ?? null),
    error,
    tools: listing.tools.map(({ name, description }) => ({ name, description })),
    left_out: listing.left_out,
  };
}

/**
 * The warnings of a save of an MCP server. The edge itself calls no MCP server: a worker lists the tools, and the worker's egress guard
 * decides on the address.
 */
export function serverWarnings({ url, server_type }: McpServer): FieldError[] {
  const message =
    "was not called yet: a worker lists the server's tools within seconds, and GET shows them, or why it cannot, in listing";
  if (server_type === "stdio") return [{ path: "command", message }];
  const isPlain = url.startsWith("http:");
  return [
    { path: "url", message },
    ...(isPlain ? [{ path: "url", message: "sends the server's credentials without encryption" }] : []),
  ];
}
