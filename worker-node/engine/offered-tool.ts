import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { McpPending } from "./mcp-pending.ts";
import type { Files, ToolSpec } from "./ports.ts";

/** One call of a tool. */
export type Performed = {
  args: JsonObject;
  /** The name of the call in the visit, as `tool.2.1`. */
  at: string;
  /** The key of a call to the outside. */
  effect(): Promise<string>;
  /** The same, when the beginning of the call is committed. `wasBegun`: it was committed before, so the call may have happened. */
  begin(): Promise<{ key: string; wasBegun: boolean }>;
  /** What an earlier execution left of the call with this effect key, if it waits for something. */
  pending(key: string): McpPending | null;
  /** Commits what the call waits for. */
  commitPending(pending: McpPending): Promise<void>;
  /** Adds what a run has used that the call has started. */
  charge(usage: Usage): void;
  /** The files that the call can reach. Those that it writes are committed with its result. */
  files: Files;
};

/** A tool that a step may use. */
export type OfferedTool = {
  /** What a model sees of it. */
  spec: ToolSpec;
  /** Several calls of one answer may be made at the same time. */
  parallel: boolean;
  /** The call may have to wait for a run: it is published when it has a result, because it is made again after the wait. */
  mayWait?: true;
  /** @throws CallIsOpen when the step has to wait for what the call has begun */
  perform(call: Performed): Promise<Json>;
};
