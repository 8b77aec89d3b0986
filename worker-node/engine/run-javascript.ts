import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { StepContext } from "./ports.ts";
import { TerminalError, ToolRejection } from "./step-errors.ts";

/**
 * The built-in tool `run_javascript`: a model's program in the sandbox, with `input` as its only data.
 * @throws ToolRejection with the error of the program, which the model can mend
 */
export async function runJavascript(
  { code, input }: JsonObject,
  { sandbox }: Pick<StepContext, "sandbox">,
): Promise<Json> {
  if (typeof code !== "string") throw new ToolRejection("code must be a text");
  try {
    return await sandbox.transform(code, {}, { input: input ?? null });
  } catch (error) {
    if (!(error instanceof TerminalError)) throw error;
    throw new ToolRejection(error.message.replaceAll("transform_code", "the code"), { cause: error });
  }
}
