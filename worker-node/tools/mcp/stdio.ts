import { tmpdir } from "node:os";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { TerminalError } from "../../engine/step-errors.ts";

/** The command lines that the operator allows, by the names under which definitions refer to them. */
export type StdioCommands = Readonly<Record<string, readonly string[]>>;

/** Bytes of one message of a process. */
const MAX_BYTES = 1024 * 1024;

/**
 * A process that speaks MCP over its standard streams. Nothing of its command is a client's. Of the worker's environment it has what
 * the library passes on (PATH, HOME, USER, LOGNAME, SHELL, TERM), and no secret. It ends when its connection is closed, or its
 * input, as at the worker's death.
 * @throws TerminalError `mcp_stdio_refused` for a name that the operator of this worker does not allow
 */
export function stdioTransport(
  { name, command: of }: McpServer,
  commands: StdioCommands,
): StdioClientTransport {
  const [command, ...args] = Object.hasOwn(commands, of) ? (commands[of] ?? []) : [];
  if (command === undefined) {
    const message = `the MCP server ${name} is the command "${of}", which MCP_STDIO_ALLOW of this worker does not have`;
    throw new TerminalError("mcp_stdio_refused", message);
  }
  return new StdioClientTransport({
    command,
    args,
    stderr: "ignore",
    cwd: tmpdir(),
    maxBufferSize: MAX_BYTES,
  });
}
