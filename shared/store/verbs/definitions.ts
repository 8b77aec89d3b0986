import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { readDefinition } from "../definitions/agents-and-tools.ts";
import {
  McpListed,
  McpServerName,
  McpServerVersion,
  StoredMcpServer,
  claimMcpListings,
  readMcpServer,
  readMcpVersions,
  saveMcpListing,
} from "../definitions/mcp-servers.ts";
import {
  EndedMcpTask,
  McpTaskRow,
  claimEndedMcpTasks,
  forgetMcpTask,
  saveMcpTask,
} from "../definitions/mcp-tasks.ts";
import { readPinnedDefinition } from "../definitions/orchestrations.ts";
import { StoredDefinition } from "../definitions/stored-definition.ts";
import type { Bind } from "./verb.ts";

/** The definitions that runs use, and the upkeep of MCP servers and their tasks. */
export function definitionVerbs(bind: Bind) {
  return {
    readPinnedDefinition: bind({
      name: "readPinnedDefinition",
      args: z.tuple([z.string(), z.string(), z.number().int()]),
      result: z.string().nullable(),
      run: readPinnedDefinition,
    }),
    readDefinition: bind({
      name: "readDefinition",
      args: z.tuple([z.enum(["agents", "tools"]), TenantId, z.string()]),
      result: StoredDefinition.omit({ id: true }).nullable(),
      run: readDefinition,
    }),
    readMcpServer: bind({
      name: "readMcpServer",
      args: z.tuple([TenantId, z.string()]),
      result: StoredMcpServer.nullable(),
      run: readMcpServer,
    }),
    readMcpVersions: bind({
      name: "readMcpVersions",
      args: z.tuple([z.array(McpServerName).max(500)]),
      result: z.array(McpServerVersion),
      run: readMcpVersions,
    }),
    claimMcpListings: bind({
      name: "claimMcpListings",
      args: z.tuple([z.number().int().min(1).max(100)]),
      result: z.array(StoredMcpServer),
      run: claimMcpListings,
    }),
    saveMcpListing: bind({
      name: "saveMcpListing",
      args: z.tuple([McpListed]),
      result: z.null(),
      run: saveMcpListing,
    }),
    saveMcpTask: bind({
      name: "saveMcpTask",
      args: z.tuple([McpTaskRow]),
      result: z.null(),
      run: saveMcpTask,
    }),
    forgetMcpTask: bind({
      name: "forgetMcpTask",
      args: z.tuple([RunId, z.string()]),
      result: z.null(),
      run: forgetMcpTask,
    }),
    claimEndedMcpTasks: bind({
      name: "claimEndedMcpTasks",
      args: z.tuple([]),
      result: z.array(EndedMcpTask),
      run: claimEndedMcpTasks,
    }),
  };
}
