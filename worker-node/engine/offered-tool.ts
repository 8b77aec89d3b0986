import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { ToolSpec } from "./ports.ts";

/** One call of a tool. */
export type Performed = {
  args: JsonObject;
  /** The name of the call in the visit, as `tool.2.1`. */
  at: string;
  /** The key of a call to the outside. */
  effect(): Promise<string>;
  /** The same, when the beginning of the call is committed. `wasBegun`: it was committed before, so the call may have happened. */
  begin(): Promise<{ key: string; wasBegun: boolean }>;
};

/** A tool that a step may use. */
export type OfferedTool = {
  /** What a model sees of it. */
  spec: ToolSpec;
  /** Several calls of one answer may be made at the same time. */
  parallel: boolean;
  perform(call: Performed): Promise<Json>;
};
