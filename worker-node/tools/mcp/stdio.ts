import { tmpdir } from "node:os";
import { ReadBuffer } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import type { StdioServerParameters } from "@modelcontextprotocol/client/stdio";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { TerminalError } from "../../engine/step-errors.ts";
import { readableJson } from "./kept-digits.ts";

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
  return new ReadableTransport({
    command,
    args,
    stderr: "ignore",
    cwd: tmpdir(),
    maxBufferSize: MAX_BYTES,
  });
}

/** The library's transport, which reads through `DigitBuffer`: there is no other place where the text of a message can be changed. */
class ReadableTransport extends StdioClientTransport {
  constructor(parameters: StdioServerParameters) {
    super(parameters);
    Object.assign(this, { _readBuffer: new DigitBuffer({ maxBufferSize: MAX_BYTES }) });
  }
}
// The library asks a process of its own for protocol 2026-07-28, because some older servers end at the question. It starts that process with
// this class only where the prototype has the member by which it ends the process.
const ENDS_PROCESS = "_dispose";
Object.defineProperty(
  ReadableTransport.prototype,
  ENDS_PROCESS,
  Object.getOwnPropertyDescriptor(StdioClientTransport.prototype, ENDS_PROCESS) ?? {},
);

/** .NET writes a byte order mark before its first line. */
function readableLine(line: string): string {
  return readableJson(line.replace(/^\ufeff/, ""));
}

/** Splits the output of a process into messages, each of which is a line, and makes each readable for the library: see `keepDigits`. */
class DigitBuffer extends ReadBuffer {
  #line: Buffer[] = [];
  #lineBytes = 0;

  override append(chunk: Buffer): void {
    const end = chunk.lastIndexOf("\n") + 1;
    if (end > 0) {
      const lines = Buffer.concat([...this.#line.splice(0), chunk.subarray(0, end)]).toString();
      this.#lineBytes = 0;
      super.append(Buffer.from(lines.split("\n").map(readableLine).join("\n")));
    }
    this.#line.push(chunk.subarray(end));
    this.#lineBytes += chunk.length - end;
    // The library closes the connection for a message that is longer than its buffer may be.
    if (this.#lineBytes > MAX_BYTES) super.append(Buffer.concat(this.#line.splice(0)));
  }
}
