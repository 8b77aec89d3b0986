import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { McpPending } from "./mcp-pending.ts";
import type { Files, ToolSpec } from "./ports.ts";

/** One call of a tool, with what it may commit and reach while it is made. */
export type CallToPerform = {
  args: JsonObject;
  /** The name of the call in the visit, as `tool.2.1`. */
  at: string;
  /** Confirms that this worker may still move the run. @returns the key of the call to the outside, which becomes an effect of the step */
  effect(): Promise<string>;
  /**
   * As `effect`, after the beginning of the call is committed. `wasBegun`: an earlier execution had committed it, so the call may have
   * happened.
   */
  begin(): Promise<{ key: string; wasBegun: boolean }>;
  /** What an earlier execution left of the call with this effect key, if it waits for something. */
  pending(key: string): McpPending | null;
  /** Commits what the call waits for. */
  commitPending(pending: McpPending): Promise<void>;
  /** Adds the usage of a run that the call has started. */
  charge(usage: Usage): void;
  /** The files that the call can reach. Those that it writes are committed with its result. */
  files: Files;
};

/** A tool that a step may use. */
export type OfferedTool = {
  /** What a model sees of it. */
  spec: ToolSpec;
  /** True: several calls of one answer may be made at the same time. */
  parallel: boolean;
  /** The call may have to wait for a run: it is published when it has a result, because it is made again after the wait. */
  mayWait?: true;
  /** @throws CallIsOpen when the step has to wait for what the call has begun */
  perform(call: CallToPerform): Promise<Json>;
};
